//! Looking at the nodes every few seconds, and adding up what was seen in a minute.

use std::collections::HashMap;

use cluster::{FleetSnapshot, NodeView};
use primitives::{NodeId, Timestamp};

use crate::history::NodePoint;
use crate::span::Span;

/// What was seen since the minute began. As many entries as the fleet has nodes.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    minute: Option<Timestamp>,
    nodes: HashMap<NodeId, Sums>,
}

/// Sums over the samples of one node.
#[derive(Debug, Default)]
struct Sums {
    samples: u64,
    usable: u64,
    in_flight: u64,
    in_flight_most: u64,
    models_loaded: u64,
    cpu: Mean,
    memory: Mean,
    gpu: Mean,
    gpu_memory: Mean,
    gpu_celsius: Option<f64>,
    gpu_watts: Mean,
}

/// A mean over the samples that have a value.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f32>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += f64::from(value);
            self.count += 1;
        }
    }

    fn get(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Samples {
    /// Looks at every node. Returns the minute before, when this is the first look in another one.
    pub(crate) fn look(
        &mut self,
        fleet: &FleetSnapshot,
        now: Timestamp,
    ) -> Vec<(NodeId, NodePoint)> {
        let minute = Span::Minute.start_of(now);
        let done = match self.minute.replace(minute) {
            Some(before) if before != minute => self.take(before),
            _ => Vec::new(),
        };
        for node in &fleet.nodes {
            self.nodes.entry(node.id).or_default().add(node);
        }
        done
    }

    fn take(&mut self, minute: Timestamp) -> Vec<(NodeId, NodePoint)> {
        let nodes = std::mem::take(&mut self.nodes);
        nodes
            .into_iter()
            .map(|(node, sums)| (node, sums.point(minute)))
            .collect()
    }
}

impl Sums {
    fn add(&mut self, node: &NodeView) {
        let in_flight = u64::from(node.activity.in_flight());
        self.samples += 1;
        self.usable += u64::from(node.is_routable());
        self.in_flight += in_flight;
        self.in_flight_most = self.in_flight_most.max(in_flight);
        self.models_loaded += node.models.iter().filter(|m| m.loaded.is_some()).count() as u64;
        let Some(load) = node.machine_load() else {
            return;
        };
        self.cpu.add(Some(load.cpu_percent));
        self.memory.add(load.memory_percent);
        self.gpu.add(load.gpu_percent);
        self.gpu_memory.add(load.gpu_memory_percent);
        self.gpu_watts.add(load.gpu_watts);
        let hottest = load.gpu_celsius.map(f64::from);
        self.gpu_celsius = [self.gpu_celsius, hottest]
            .into_iter()
            .flatten()
            .reduce(f64::max);
    }

    fn point(&self, starts_at: Timestamp) -> NodePoint {
        let mean = |sum: u64| sum as f64 / self.samples.max(1) as f64;
        NodePoint {
            starts_at,
            samples: self.samples,
            usable: self.usable,
            in_flight: mean(self.in_flight),
            in_flight_most: self.in_flight_most,
            models_loaded: mean(self.models_loaded),
            cpu_percent: self.cpu.get(),
            memory_percent: self.memory.get(),
            gpu_percent: self.gpu.get(),
            gpu_memory_percent: self.gpu_memory.get(),
            gpu_celsius_most: self.gpu_celsius,
            gpu_watts: self.gpu_watts.get(),
        }
    }
}
