//! The declaration of parameters: one line gives field, kind, default, bounds and the reference's name.

use std::borrow::Cow;
use std::time::Duration;

use super::fault::Problems;
use super::value::Setting;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// Longer times are mistakes.
pub(super) const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// One parameter of a group, to be read or set.
pub(super) struct Slot<'a> {
    pub(super) name: Cow<'static, str>,
    pub(super) about: &'static str,
    pub(super) setting: &'a mut dyn Setting,
}

/// Parameters that belong together.
pub(super) trait Group {
    /// Shows all parameters, in the order of their declaration.
    fn visit(&mut self, visit: &mut dyn FnMut(Slot<'_>));

    /// Rules between values.
    fn check(&self, problems: &mut Problems);
}

/// Declares a group: `field: Kind = default, within bounds, "ReferenceName";`. After it may come
/// `ordered { least <= most }`, and `rules path;` of a function that checks more.
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
        $(ordered { $($least:ident <= $most:ident),* $(,)? })?
        $(rules $rules:path;)?
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
            fn visit(&mut self, visit: &mut dyn FnMut($crate::parameters::declare::Slot<'_>)) {
                use $crate::parameters::value;
                $(
                    visit($crate::parameters::declare::Slot {
                        name: std::borrow::Cow::Borrowed($name),
                        about: concat!($words, $("\n", $more),*),
                        setting: &mut value::Bounded {
                            value: &mut self.$field,
                            bounds: value::bounds!($($bounds)?),
                        },
                    });
                )*
            }

            fn check(&self, problems: &mut $crate::parameters::fault::Problems) {
                let name_of = |field| match field {
                    $( stringify!($field) => $name, )*
                    _ => "",
                };
                $($(
                    problems.in_order(
                        (&self.$least, name_of(stringify!($least))),
                        (&self.$most, name_of(stringify!($most))),
                    );
                )*)?
                $( $rules(self, problems); )?
                let _ = (name_of, problems);
            }
        }
    };
}

/// Declares all groups of one end, and how a parameter is found in them.
macro_rules! groups {
    (
        $(#[$about:meta])*
        pub struct $All:ident of $side:expr;
        $(
            #[doc = $topic:literal]
            $(#[doc = $more:literal])*
            pub $field:ident : $Group:ty = $default:expr,
        )*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $All {
            $(
                #[doc = $topic]
                $(#[doc = $more])*
                pub $field: $Group,
            )*
        }

        impl Default for $All {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::parameters::apply::Side for $All {
            const SIDE: $crate::parameters::ReadBy = $side;

            fn visit(&mut self, visit: &mut dyn FnMut(&'static str, $crate::parameters::declare::Slot<'_>)) {
                $(
                    let topic = concat!($topic, $("\n", $more),*);
                    $crate::parameters::declare::Group::visit(&mut self.$field, &mut |slot| visit(topic, slot));
                )*
            }

            fn broken_rules(&self) -> Vec<$crate::parameters::OverrideError> {
                let mut problems = $crate::parameters::fault::Problems::default();
                $( $crate::parameters::declare::Group::check(&self.$field, &mut problems); )*
                problems.into_errors()
            }
        }

        impl $All {
            /// Sets the parameter of this name from its JSON form: durations are text such as `"10ms"`.
            ///
            /// # Errors
            /// Nothing is set: there is no such parameter, or the value is of the wrong kind or out of bounds.
            pub fn set(
                &mut self,
                name: &str,
                value: &serde_json::Value,
            ) -> Result<(), $crate::parameters::OverrideError> {
                $crate::parameters::apply::set(self, name, value)
            }

            /// Sets all that a table of names and values says, such as that of tactics, and checks what holds between
            /// them.
            ///
            /// # Errors
            /// With [`OnFault::Refuse`](crate::parameters::OnFault) every override that is wrong; then nothing is set.
            pub fn apply(
                &mut self,
                overrides: &serde_json::Map<String, serde_json::Value>,
                on_fault: $crate::parameters::OnFault,
            ) -> Result<$crate::parameters::Applied, Vec<$crate::parameters::OverrideError>> {
                $crate::parameters::apply::apply(self, overrides, on_fault)
            }

            /// Checks what holds between parameters, such as that a minimum is none above its maximum and that
            /// transforms can be compiled. To be called when all are set; all that is wrong is returned.
            #[must_use]
            pub fn check(&self) -> Vec<$crate::parameters::OverrideError> {
                $crate::parameters::apply::Side::broken_rules(self)
            }

            /// All parameters with their kinds, defaults and bounds, in the order of their declaration.
            #[must_use]
            pub fn table() -> Vec<$crate::parameters::Row> {
                $crate::parameters::apply::table::<Self>()
            }

            /// The names of all parameters, in that order.
            #[must_use]
            pub fn names() -> Vec<std::borrow::Cow<'static, str>> {
                let mut names = Vec::new();
                $crate::parameters::apply::Side::visit(&mut Self::default(), &mut |_, slot| names.push(slot.name));
                names
            }

            /// The parameters that are not at their defaults, by name, in their canonical JSON form.
            #[must_use]
            pub fn overrides(&self) -> std::collections::BTreeMap<String, serde_json::Value> {
                $crate::parameters::apply::overrides(self)
            }

            /// A hash that is another when any parameter has another value, however the values were written.
            #[must_use]
            pub fn digest(&self) -> $crate::parameters::ParametersDigest {
                $crate::parameters::ParametersDigest::of(&self.overrides())
            }
        }
    };
}

pub(super) use {groups, parameters};
