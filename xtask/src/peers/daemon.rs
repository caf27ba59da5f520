//! Programs that outlive the task: started in the background, stopped by process id.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::home::{self, Home};

const POLL: Duration = Duration::from_millis(50);
/// How long an engine may take to end its containers.
const GRACE: Duration = Duration::from_secs(20);

/// Starts a program in the background, writes down its process id, and waits until `ready` says so.
pub(super) fn start(
    home: &Home,
    name: &str,
    command: &mut Command,
    patience: Duration,
    ready: impl Fn() -> bool,
) -> Result<u32> {
    let log = home.log(name);
    let file = fs::File::create(&log).context(|| format!("creating `{}`", log.display()))?;
    let twin = file
        .try_clone()
        .context(|| format!("opening `{}`", log.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(twin);
    #[cfg(unix)]
    {
        // Not in our process group: an interrupt at the terminal is for the task alone.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    let shown = process::show(command);
    let mut child = command.spawn().context(|| format!("starting `{shown}`"))?;
    let pid = child.id();
    let started = start_time(pid).unwrap_or_default();
    home::write(&pid_file(home, name), &format!("{pid} {started}\n"))?;

    let begin = Instant::now();
    while !ready() {
        let ended = child
            .try_wait()
            .context(|| format!("waiting for `{shown}`"))?;
        if ended.is_some() || begin.elapsed() > patience {
            stop(home, name)?;
            let said = process::last_lines(&fs::read_to_string(&log).unwrap_or_default(), 3);
            let how = ended.map_or_else(
                || format!("was not ready after {} s", patience.as_secs()),
                |status| format!("ended with {status}"),
            );
            return Err(Failure::new(format!(
                "`{shown}` {how}: {said} (all in {})",
                log.display()
            )));
        }
        thread::sleep(POLL);
    }
    Ok(pid)
}

/// The process id of a part that we started and that still runs.
pub(super) fn pid(home: &Home, name: &str) -> Option<u32> {
    let text = fs::read_to_string(pid_file(home, name)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    // Process ids come round again; together with the start time they do not.
    (start_time(pid)? == started).then_some(pid)
}

/// Ends a part that we started; returns its process id, none if it was not running.
pub(super) fn stop(home: &Home, name: &str) -> Result<Option<u32>> {
    let Some(id) = pid(home, name) else {
        let _ = fs::remove_file(pid_file(home, name));
        return Ok(None);
    };
    for (signal, grace) in [("-TERM", GRACE), ("-KILL", Duration::from_secs(5))] {
        process::output(Command::new("kill").args([signal, &id.to_string()]))?;
        let begin = Instant::now();
        while begin.elapsed() < grace {
            if pid(home, name).is_none() {
                let _ = fs::remove_file(pid_file(home, name));
                return Ok(Some(id));
            }
            thread::sleep(POLL);
        }
    }
    Err(Failure::new(format!("process {id} survives SIGKILL")))
}

/// Not in the peers' folder, which `cargo clean` deletes without asking.
fn pid_file(home: &Home, name: &str) -> PathBuf {
    home.run(format!("{name}.pid"))
}

/// Removes the pid file of a killed program that would take the pid's next owner for itself.
/// Its own command line names `folder`.
pub(super) fn remove_stale(pid_file: &Path, folder: &Path) -> Result<()> {
    let Ok(pid) = fs::read_to_string(pid_file) else {
        return Ok(());
    };
    let command_line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    if String::from_utf8_lossy(&command_line).contains(&*folder.to_string_lossy()) {
        return Ok(());
    }
    fs::remove_file(pid_file).context(|| format!("removing `{}`", pid_file.display()))
}

/// When a process started, in clock ticks since boot; none if it has ended.
fn start_time(pid: u32) -> Option<String> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(str::to_owned)
}

/// The start time in a line of `/proc/PID/stat`, proc(5); none for a zombie.
fn parse_stat(stat: &str) -> Option<&str> {
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        None
    } else {
        fields.nth(18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_field_22_whatever_the_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("9 (a) b) S {rest}")), Some("4711"));
        assert_eq!(parse_stat(&format!("9 (a) Z {rest}")), None);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn a_process_that_runs_has_a_start_time() {
        if cfg!(target_os = "linux") {
            assert!(start_time(std::process::id()).is_some());
        }
    }
}
