//! The two text forms that figures are given in. The older one is made from OpenMetrics by its headers: there a counter's
//! header names its sample, a constant has the type of a gauge, and units and the end are not said.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>;
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

/// A text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    OpenMetrics,
    Prometheus,
}

impl Form {
    /// What whoever says so in `Accept` gets: the newer form if it is named at all.
    pub(super) fn accepted_by(accept: Option<&str>) -> Self {
        let named = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if named { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// This form of a text in OpenMetrics.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => prometheus(&open_metrics),
        }
    }
}

fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), about) => help = Some((name, about.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some((_, about)) = help.take().filter(|(named, _)| *named == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {about}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_samples_in_the_older_form() {
        let open_metrics = "# HELP a_b_bytes How many.\n# TYPE a_b_bytes counter\n# UNIT a_b_bytes bytes\na_b_bytes_total{x=\"# y\"} 1\n# HELP c What.\n# TYPE c info\nc_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_b_bytes_total How many.\n# TYPE a_b_bytes_total counter\na_b_bytes_total{x=\"# y\"} 1\n# HELP c_info What.\n# TYPE c_info gauge\nc_info{version=\"1\"} 1\n";
        assert_eq!(Form::Prometheus.of(open_metrics.to_owned()), expected);
        assert_eq!(Form::OpenMetrics.of(open_metrics.to_owned()), open_metrics);
    }

    #[test]
    fn scrapers_say_which_they_take() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted_by(Some(prometheus)), Form::OpenMetrics);
        assert_eq!(Form::accepted_by(Some("text/html,*/*;q=0.8")), Form::Prometheus);
        assert_eq!(Form::accepted_by(None), Form::Prometheus);
    }
}
