use bollard::{
    errors::Error as Bollard,
    exec::{StartExecOptions, StartExecResults},
    models,
    query_parameters::{AttachContainerOptionsBuilder, KillContainerOptionsBuilder},
};
use futures_util::StreamExt;
use ocicore::Class;

use super::{Docker, container::pairs, fault::Deed, output::pump};
use crate::{
    Exit, Result,
    log::{Log, Tail},
    spec::{ContainerId, ExecSpec, Signal},
};

/// The exit code of SIGKILL.
const KILLED: i64 = 137;

impl Docker {
    pub(super) async fn start_it(&self, id: &ContainerId) -> Result<()> {
        let deed = Deed::new("start", "container", id);
        let started = self.api().start_container(id.as_str(), None).await;
        started.map_err(|error| deed.bollard(error))
    }

    pub(super) async fn run_it(&self, id: &ContainerId, log: &Log) -> Result<Exit> {
        let deed = Deed::new("run", "container", id);
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdout(true)
            .stderr(true)
            .build();
        // Before it starts, so that nothing of its output can be missed.
        let attached = self
            .api()
            .attach_container(id.as_str(), Some(options))
            .await;
        let attached = attached.map_err(|error| deed.bollard(error))?;
        self.start_it(id).await?;
        let mut tail = Tail::default();
        pump(&deed, attached.output, log, &mut tail).await?;
        self.exit_of(id, tail).await
    }

    /// Waits for the end of a container.
    pub(super) async fn exit_of(&self, id: &ContainerId, tail: Tail) -> Result<Exit> {
        let deed = Deed::new("wait for", "container", id);
        let mut waiting = self.api().wait_container(id.as_str(), None);
        let code = match waiting.next().await {
            Some(Ok(ended)) => ended.status_code,
            // This is how bollard says that it is not 0.
            Some(Err(Bollard::DockerContainerWaitError { error, code })) if error.is_empty() => {
                code
            }
            Some(Err(error)) => return Err(deed.bollard(error)),
            None => return Err(deed.vanished(tail, None)),
        };
        let found = self.api().inspect_container(id.as_str(), None).await;
        let found = match found.map_err(|error| deed.bollard(error)) {
            Ok(found) => found,
            // Somebody removed it: the exit code is known all the same.
            Err(error) if error.class() == Class::NotFound => Default::default(),
            Err(error) => return Err(error),
        };
        let memory = self.killed_by_memory(id, code, &found).await?;
        let program = found.path.unwrap_or_else(|| id.to_string());
        Ok(Exit::new(program, code, tail).killed_by_memory(memory))
    }

    /// Whether the kernel killed a container for its use of memory. Engines do not always learn of
    /// it: containerd looks at the control group of a container that has ended, when it may have
    /// gone (one time in ten), Podman's monitor in some set-ups never. So one that could use up its
    /// memory, ended by SIGKILL, and was sent no signal by the engine, counts as well.
    async fn killed_by_memory(
        &self,
        id: &ContainerId,
        code: i64,
        found: &models::ContainerInspectResponse,
    ) -> Result<bool> {
        let state = found.state.as_ref();
        if state.and_then(|state| state.oom_killed) == Some(true) {
            return Ok(true);
        }
        let limit = found.host_config.as_ref().and_then(|host| host.memory);
        let started = state.and_then(|state| state.started_at.as_deref()?.parse().ok());
        match started {
            Some(started) if code == KILLED && limit.is_some_and(|limit| limit > 0) => {
                self.had_no_signal(id, started).await
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        let options = KillContainerOptionsBuilder::new()
            .signal(&signal.to_string())
            .build();
        let sent = self.api().kill_container(id.as_str(), Some(options)).await;
        sent.map_err(|error| Deed::new("signal", "container", id).bollard(error))
    }

    pub(super) async fn exec_in(
        &self,
        id: &ContainerId,
        spec: &ExecSpec,
        log: &Log,
    ) -> Result<Exit> {
        let deed = Deed::new("execute a command in", "container", id);
        let config = models::ExecConfig {
            cmd: Some(spec.command.clone()),
            env: Some(pairs(&spec.env)),
            user: spec.user.clone(),
            working_dir: spec.working_dir.clone(),
            privileged: Some(spec.privileged),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let made = self.api().create_exec(id.as_str(), config).await;
        let exec = made.map_err(|error| deed.bollard(error))?.id;
        let options = StartExecOptions::default();
        let started = self.api().start_exec(&exec, Some(options)).await;
        let mut tail = Tail::default();
        match started {
            Ok(StartExecResults::Attached { output, .. }) => {
                pump(&deed, output, log, &mut tail).await?;
            }
            Ok(StartExecResults::Detached) => {
                return Err(deed.garbled("it runs detached, which nobody asked for"));
            }
            Err(error) => return Err(deed.bollard(error)),
        }
        let ended = self.api().inspect_exec(&exec).await;
        let code = ended.map_err(|error| deed.bollard(error))?.exit_code;
        let code = code.ok_or_else(|| deed.vanished(tail.clone(), None))?;
        Ok(Exit::new(spec.program(), code, tail))
    }
}
