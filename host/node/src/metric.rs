//! What is counted, as Prometheus reads it.

/// One family of metrics, `stillhouse_NAME`. A line is its labels, if it has any, a space, and the value.
pub fn family(name: &str, help: &str, kind: &str, lines: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("# HELP stillhouse_{name} {help}\n# TYPE stillhouse_{name} {kind}\n");
    for line in lines {
        text += &format!("stillhouse_{name}{line}\n");
    }
    text
}

/// A family of one value without labels.
pub fn one(name: &str, help: &str, kind: &str, value: u64) -> String {
    family(name, help, kind, [format!(" {value}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_prometheus_wants_it() {
        let lines = ["a", "b"].map(|of| format!("{{of=\"{of}\"}} 1"));
        assert_eq!(
            family("x_total", "How many.", "counter", lines) + &one("y", "Now.", "gauge", 2),
            "# HELP stillhouse_x_total How many.\n# TYPE stillhouse_x_total counter\n\
             stillhouse_x_total{of=\"a\"} 1\nstillhouse_x_total{of=\"b\"} 1\n\
             # HELP stillhouse_y Now.\n# TYPE stillhouse_y gauge\nstillhouse_y 2\n"
        );
    }
}
