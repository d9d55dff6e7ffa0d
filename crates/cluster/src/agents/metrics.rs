//! How many agents there are, and what they carry.

use crate::registry::Registry;

impl Registry {
    /// Writes the figures of agents that are linked to this process, as `OpenMetrics` text.
    pub fn render_agent_metrics(&self) -> String {
        let snapshot = self.snapshot();
        let seats = snapshot.nodes.iter().filter_map(|node| node.agent.as_ref());
        let (mut nodes, mut linked, mut tunnels) = (0_u64, 0_u64, 0_u64);
        let (mut sharing, mut sent, mut received) = (0_u64, 0_u64, 0_u64);
        for seat in seats {
            nodes += 1;
            if let Some(link) = seat.link() {
                linked += 1;
                let Some(status) = link.status() else {
                    continue;
                };
                tunnels += u64::from(status.tunnels);
                if let Some(shared) = &status.sharing {
                    sharing += 1;
                    sent = sent.saturating_add(shared.sent_bytes);
                    received = received.saturating_add(shared.received_bytes);
                }
            }
        }
        let discovered = self.discovered_agents().map_or(0, |heard| heard.len());
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
             # HELP remuda_agents_sharing Agents that share files of models.\n\
             # TYPE remuda_agents_sharing gauge\n\
             remuda_agents_sharing {sharing}\n\
             # HELP remuda_agents_sent_bytes Bytes of files that these have sent to other nodes since each was started.\n\
             # TYPE remuda_agents_sent_bytes gauge\n\
             remuda_agents_sent_bytes {sent}\n\
             # HELP remuda_agents_received_bytes Bytes of files that these have had from other nodes since each was started.\n\
             # TYPE remuda_agents_received_bytes gauge\n\
             remuda_agents_received_bytes {received}\n\
             # HELP remuda_agents_discovered Agents on the local network that say that they belong nowhere.\n\
             # TYPE remuda_agents_discovered gauge\n\
             remuda_agents_discovered {discovered}\n\
             # EOF\n"
        )
    }
}
