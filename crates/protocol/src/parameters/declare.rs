//! The declaration of parameters: one line gives field, kind, default, bounds and the reference's name.

use serde_json::Value as Json;

use super::Row;
use super::fault::{Fault, OverrideError, Problems};

/// Parameters that belong together.
pub(super) trait Group {
    /// Sets the parameter of this name; `None` when it is not of this group.
    fn set(&mut self, name: &str, value: &Json) -> Option<Result<(), OverrideError>>;

    /// The parameters of this group, with the values they have here as defaults.
    fn rows(&self) -> Vec<Row>;

    /// Rules between values.
    fn check(&self, problems: &mut Problems);
}

/// Declares a group: `field: Kind = default, within bounds, "ReferenceName";`. Rules between its values are the group's
/// `Rules`.
macro_rules! parameters {
    (
        $(#[$about:meta])*
        pub struct $Group:ident {
            $(
                #[doc = $words:literal]
                $(#[doc = $more:literal])*
                $field:ident : $Kind:ty = $default:expr $(, within $bounds:expr)?, $name:literal;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Group {
            $(
                #[doc = $words]
                $(#[doc = $more])*
                #[doc = concat!("\n\nParameter `", $name, "`.")]
                pub $field: $Kind,
            )*
        }

        impl Default for $Group {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::parameters::declare::Group for $Group {
            fn set(
                &mut self,
                name: &str,
                value: &serde_json::Value,
            ) -> Option<Result<(), $crate::parameters::OverrideError>> {
                use $crate::parameters::value;
                match name {
                    $(
                        $name => Some(
                            value::read(value, value::bounds!($Kind $(, $bounds)?))
                                .map(|value| self.$field = value)
                                .map_err(|flaw| flaw.of($name)),
                        ),
                    )*
                    _ => None,
                }
            }

            fn rows(&self) -> Vec<$crate::parameters::Row> {
                use $crate::parameters::value;
                vec![
                    $(
                        value::row(
                            $name,
                            &self.$field,
                            value::bounds!($Kind $(, $bounds)?),
                            concat!($words, $("\n", $more),*),
                        ),
                    )*
                ]
            }

            fn check(&self, problems: &mut $crate::parameters::fault::Problems) {
                $crate::parameters::declare::Rules::rules(self, problems);
            }
        }
    };
}

/// Rules between the values of a group.
pub(super) trait Rules {
    /// Notes every rule that is broken.
    fn rules(&self, problems: &mut Problems);
}

/// Declares all groups of one end, and how a parameter is found in them.
macro_rules! groups {
    (
        $(#[$about:meta])*
        pub struct $All:ident {
            $( $(#[$field_about:meta])* pub $field:ident : $Group:ty = $default:expr, )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $All {
            $( $(#[$field_about])* pub $field: $Group, )*
        }

        impl Default for $All {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $All {
            /// Sets the parameter of this name from its JSON form: durations are text such as `"10ms"`.
            ///
            /// # Errors
            /// Nothing is set: there is no such parameter, or the value is of the wrong kind or out of bounds.
            pub fn set(&mut self, name: &str, value: &Json) -> Result<(), OverrideError> {
                $(
                    if let Some(result) = self.$field.set(name, value) {
                        return result;
                    }
                )*
                Err(declare::no_such(name, &Self::table()))
            }

            /// Checks what holds between parameters, such as that a minimum is none above its maximum and that
            /// transforms can be compiled. To be called when all are set; all that is wrong is returned.
            #[must_use]
            pub fn check(&self) -> Vec<OverrideError> {
                let mut problems = Problems::default();
                $( self.$field.check(&mut problems); )*
                problems.into_errors()
            }

            /// All parameters with their kinds, defaults and bounds, in the order of their declaration.
            #[must_use]
            pub fn table() -> Vec<Row> {
                let defaults = Self::default();
                let mut rows = Vec::new();
                $( rows.extend(defaults.$field.rows()); )*
                rows
            }
        }
    };
}

/// The error of a name that no group has.
pub(super) fn no_such(name: &str, table: &[Row]) -> OverrideError {
    let near = crate::json_position::near_name(name, table.iter().map(|row| row.name.as_ref()));
    OverrideError {
        name: name.to_owned(),
        inside: Vec::new(),
        fault: Fault::UnknownName { near: near.map(str::to_owned) },
    }
}

pub(super) use {groups, parameters};
