//! How many agents there are, and what they carry.

use crate::registry::Registry;

impl Registry {
    /// Writes the figures of agents that are linked to this process, as `OpenMetrics` text.
    pub fn render_agent_metrics(&self) -> String {
        let snapshot = self.snapshot();
        let seats = snapshot.nodes.iter().filter_map(|node| node.agent.as_ref());
        let (mut nodes, mut linked, mut tunnels) = (0_u64, 0_u64, 0_u64);
        for seat in seats {
            nodes += 1;
            if let Some(link) = seat.link() {
                linked += 1;
                tunnels += link.status().map_or(0, |status| u64::from(status.tunnels));
            }
        }
        format!(
            "# HELP remuda_agents_expected Nodes that are reached through an agent.\n\
             # TYPE remuda_agents_expected gauge\n\
             remuda_agents_expected {nodes}\n\
             # HELP remuda_agents_linked Agents that are linked to this process.\n\
             # TYPE remuda_agents_linked gauge\n\
             remuda_agents_linked {linked}\n\
             # HELP remuda_agent_tunnels Connections that agents carry, as they told last.\n\
             # TYPE remuda_agent_tunnels gauge\n\
             remuda_agent_tunnels {tunnels}\n\
             # EOF\n"
        )
    }
}
