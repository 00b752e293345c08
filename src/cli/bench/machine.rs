//! What a figure was measured on: printed above every result, because a number without its machine says nothing.

use std::fs;

/// The machine in words, as far as the kernel tells.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub governor: String,
    pub clock_source: String,
    pub isolated_cores: String,
}

impl Machine {
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_string()).unwrap_or_default();
        let or_unknown = |text: String| if text.is_empty() { "unknown".into() } else { text };
        let cpu = read("/proc/cpuinfo");
        let cpu =
            cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
        Self {
            cpu: or_unknown(cpu.unwrap_or_default().into()),
            cores: cores().len(),
            kernel: or_unknown(read("/proc/sys/kernel/osrelease")),
            governor: or_unknown(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            clock_source: or_unknown(read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
            isolated_cores: Some(read("/sys/devices/system/cpu/isolated"))
                .filter(|text| !text.is_empty())
                .unwrap_or("none".into()),
        }
    }

    pub fn line(&self) -> String {
        let Self { cpu, cores, kernel, governor, clock_source, isolated_cores } = self;
        format!(
            "{cpu}, {cores} cores (isolated: {isolated_cores}), Linux {kernel}, governor {governor}, clock {clock_source}"
        )
    }
}

/// The cores that this process may use.
pub(super) fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Which thread runs where. On two cores the client shares its core with the flusher, as the floor with sync does.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Placement {
    pub server_core: usize,
    pub client_core: usize,
    pub housekeeping_core: usize,
}

impl Placement {
    /// `None` on a single core: spinning partners that share it measure the scheduler.
    pub fn here() -> Option<Self> {
        match *cores() {
            [] | [_] => None,
            [first, second] => Some(Self { server_core: second, client_core: first, housekeeping_core: first }),
            [first, .., client, server] => {
                Some(Self { server_core: server, client_core: client, housekeeping_core: first })
            }
        }
    }
}

impl Placement {
    /// A core for each of so many workers: first the server's, then those that nothing else has, then those that housekeeping and the
    /// client are on. `None`: there are not so many.
    pub fn worker_cores(self, workers: usize) -> Option<Vec<usize>> {
        let mut order = vec![self.server_core];
        order.extend(cores().into_iter().rev());
        order.extend([self.housekeeping_core, self.client_core]);
        self.choose(order, workers)
    }

    fn choose(self, mut order: Vec<usize>, workers: usize) -> Option<Vec<usize>> {
        let is_taken = |core: &usize| [self.housekeeping_core, self.client_core].contains(core);
        // Stable: what is taken comes last, in its order.
        order.sort_by_key(is_taken);
        let mut chosen: Vec<usize> = Vec::new();
        for core in order {
            if !chosen.contains(&core) {
                chosen.push(core);
            }
        }
        (workers <= chosen.len()).then(|| chosen[..workers].to_vec())
    }
}

pub(super) fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "cannot pin to the core: the figures are those of a wandering thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_come_to_free_cores_first_and_never_two_to_one() {
        let of = |client, housekeeping, cores: &[usize], workers| {
            let placement = Placement { server_core: cores[0], client_core: client, housekeeping_core: housekeeping };
            placement.choose(cores.to_vec(), workers)
        };
        assert_eq!(of(0, 0, &[1, 0, 0, 0], 2), Some(vec![1, 0]));
        assert_eq!(of(0, 0, &[1, 0, 0, 0], 3), None);
        assert_eq!(of(2, 0, &[3, 3, 2, 1, 0, 0, 2], 3), Some(vec![3, 1, 2]));
        assert_eq!(of(2, 0, &[3, 3, 2, 1, 0, 0, 2], 1), Some(vec![3]));
    }
}
