//! Metric families, collected one sample after the other.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Families in the order of their names' first use.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

/// Names of labels and their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Families {
    /// A sample of a counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.family(name, help, MetricType::COUNTER)
            .mut_metric()
            .push(metric);
    }

    /// As [`counter`](Self::counter), of whole numbers. Beyond 2^53 they lose their last digits, as all numbers of Prometheus do.
    pub(super) fn count(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        self.counter(name, help, labels, value as f64);
    }

    /// A sample of a gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.family(name, help, MetricType::GAUGE)
            .mut_metric()
            .push(metric);
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> &mut MetricFamily {
        let place = match self.0.iter().position(|family| family.name() == name) {
            Some(place) => place,
            None => {
                let mut family = MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help(help.to_owned());
                family.set_field_type(kind);
                self.0.push(family);
                self.0.len() - 1
            }
        };
        &mut self.0[place]
    }

    pub(super) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
