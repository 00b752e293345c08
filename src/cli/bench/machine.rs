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

pub(super) fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "cannot pin to the core: the figures are those of a wandering thread");
    }
}
