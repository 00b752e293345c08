//! Which cores the threads of an engine run on, and whether its workers may spin there.

use super::errors::StartError;
use crate::config::{Config, Placement, Wait};
use crate::sys::cgroup::cpu_limit;

/// Where each thread runs, and how workers wait. An empty list lets the kernel choose.
pub(super) struct Cores {
    pub workers: Vec<Vec<usize>>,
    pub housekeeping: Vec<usize>,
    pub wait: Wait,
    /// Why workers do not spin, though they were told to.
    pub parks: Option<String>,
}

impl Cores {
    /// Those of a flusher. Where sessions wait for it and it has no core to itself, its worker's
    /// too, so that whoever is busy on housekeeping's cores does not hold it up: the worker naps
    /// meanwhile. Unless the configuration names those cores.
    pub fn flusher(&self, config: &Config, is_waited_for: bool, worker: usize) -> Vec<usize> {
        let mut cores = self.housekeeping.clone();
        if is_waited_for && config.engine.housekeeping_cores.is_empty() && !cores.is_empty() {
            cores.extend_from_slice(&self.workers[worker]);
        }
        cores
    }

    /// Workers have cores of their own wherever the machine has more cores than workers; all that
    /// are left are housekeeping's. Workers that sleep when they have nothing to do have none
    /// unless the configuration names them: they gain nothing by it, and several engines on a
    /// machine would share their housekeeping's one core with whoever spins there, until neither
    /// the ring was carried nor a line logged for half a minute.
    pub fn of(config: &Config) -> Result<Cores, StartError> {
        let available: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        let parks = why_to_park(config, &available, cpu_limit());
        let wait = if parks.is_some() { Wait::Park } else { config.engine.wait };
        let named = match &config.engine.placement {
            Placement::Cores(cores) => cores.as_slice(),
            Placement::Workers(_) => &[],
        };
        for (key, cores) in [("engine.cores", named), ("engine.housekeeping_cores", &config.engine.housekeeping_cores)]
        {
            if cores.iter().any(|core| !available.contains(core)) {
                return Err(StartError::Cores { place: config.place_of(key), wanted: cores.to_vec(), available });
            }
        }
        let workers = match &config.engine.placement {
            Placement::Cores(cores) => cores.iter().map(|core| vec![*core]).collect(),
            Placement::Workers(count) if (*count as usize) < available.len() && wait != Wait::Park => {
                available[available.len() - *count as usize..].iter().map(|core| vec![*core]).collect()
            }
            Placement::Workers(count) => vec![Vec::new(); *count as usize],
        };
        let taken: Vec<usize> = workers.iter().flatten().copied().collect();
        let housekeeping = if !config.engine.housekeeping_cores.is_empty() {
            config.engine.housekeeping_cores.clone()
        } else if taken.is_empty() {
            Vec::new()
        } else {
            available.into_iter().filter(|core| !taken.contains(core)).collect()
        };
        Ok(Cores { workers, housekeeping, wait, parks })
    }
}

/// Why workers that are told to spin park instead: they would leave their flushers no core. What a
/// session in `sync` sends then waits until the scheduler takes the core from a worker that never
/// gives it, and under a real-time policy (SCHED_FIFO) for ever, the answer to a Logon included.
///
/// `available` are the cores of sched_getaffinity(2), `cpu_limit` how many cores' time the cgroup
/// allows.
pub(crate) fn why_to_park(config: &Config, available: &[usize], cpu_limit: Option<u64>) -> Option<String> {
    let engine = &config.engine;
    // What cannot be told is no reason.
    if engine.wait != Wait::Spin || available.is_empty() {
        return None;
    }
    let workers = engine.placement.worker_count() as usize;
    let spare = match &engine.placement {
        // The kernel puts them anywhere.
        Placement::Workers(_) => available.len().saturating_sub(workers),
        Placement::Cores(cores) => {
            let named = &engine.housekeeping_cores;
            let housekeeping = if named.is_empty() { available } else { named };
            housekeeping.iter().filter(|core| !cores.contains(core)).count()
        }
    };
    let is_throttled = cpu_limit.is_some_and(|cores| cores <= workers as u64);
    if spare > 0 && !is_throttled {
        return None;
    }
    let of_time = match cpu_limit.filter(|_| is_throttled) {
        Some(cores) => format!(", of whose time its cgroup allows less than {} (cpu.max)", cores + 1),
        None => String::new(),
    };
    Some(format!(
        "engine.wait = \"spin\" takes a core for each of {workers} workers and leaves none to their flushers: this process may run on {} cores{of_time}. Workers \
         wait as with \"park\" instead. Give it more cores (engine.cores, engine.housekeeping_cores, taskset, the pod's limit of cpu), or lower engine.workers",
        available.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::threads::share_a_core;
    use super::*;

    #[test]
    fn workers_spin_only_where_they_leave_their_flushers_a_core() {
        let mut config = Config::default();
        config.engine.wait = Wait::Spin;
        let parks = |config: &Config, available: &[usize], limit| why_to_park(config, available, limit).is_some();
        assert!(parks(&config, &[3], None), "one core for both");
        assert!(!parks(&config, &[3, 4], None));
        assert!(parks(&config, &[3, 4], Some(1)), "the cgroup allows the time of one");
        assert!(!parks(&config, &[3, 4], Some(2)));
        assert!(!parks(&config, &[], None), "nothing is known");
        config.engine.placement = Placement::Workers(2);
        assert!(parks(&config, &[3, 4], None) && !parks(&config, &[3, 4, 5], None));
        config.engine.placement = Placement::Cores(vec![3]);
        assert!(!parks(&config, &[3, 4], None));
        config.engine.housekeeping_cores = vec![3];
        assert!(parks(&config, &[3, 4], None), "housekeeping is put on the worker's core");
        config.engine.housekeeping_cores = vec![3, 4];
        assert!(!parks(&config, &[3, 4], None));
        config.engine.housekeeping_cores = vec![3];
        config.engine.wait = Wait::Adaptive;
        assert!(!parks(&config, &[3], None), "it sleeps when it has nothing to do");
    }

    #[test]
    fn workers_that_sleep_are_pinned_only_where_their_cores_are_named() {
        let core = core_affinity::get_core_ids().unwrap()[0].id;
        let mut config = Config::default();
        config.engine.wait = Wait::Park;
        let chosen = Cores::of(&config).ok().unwrap();
        assert_eq!((chosen.workers, chosen.housekeeping), (vec![vec![]], vec![]));
        config.engine.housekeeping_cores = vec![core];
        assert_eq!(Cores::of(&config).ok().unwrap().housekeeping, [core]);
        config.engine.placement = Placement::Cores(vec![core]);
        assert_eq!(Cores::of(&config).ok().unwrap().workers, [[core]]);
    }

    /// With every core busy, and the worker's given back to it by each yield, a flusher ran after
    /// milliseconds only.
    #[test]
    fn a_flusher_that_is_waited_for_may_run_where_its_worker_naps() {
        let cores = |workers, housekeeping| Cores { workers, housekeeping, wait: Wait::Adaptive, parks: None };
        let pinned = cores(vec![vec![2], vec![3]], vec![0, 1]);
        let mut config = Config::default();
        assert_eq!(pinned.flusher(&config, true, 1), [0, 1, 3]);
        assert!(share_a_core(&pinned.workers[1], &pinned.flusher(&config, true, 1)));
        assert_eq!(pinned.flusher(&config, false, 1), [0, 1]);
        assert!(!share_a_core(&pinned.workers[1], &pinned.flusher(&config, false, 1)));
        config.engine.housekeeping_cores = vec![0, 1];
        assert_eq!(pinned.flusher(&config, true, 1), [0, 1], "as it is configured");
        // Where the kernel chooses, each may run where the other does.
        let anywhere = cores(vec![vec![]], vec![]);
        assert!(share_a_core(&anywhere.workers[0], &anywhere.flusher(&config, true, 0)));
    }
}
