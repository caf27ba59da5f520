//! A container engine with a JRE image.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{Outcome, images, peer, run};
use ocicore::{Cx, Image, ImageBuilder, Platform, SizeLimits, archive};
use talend::{application::Application, layers::LayerOptions};

/// Generous: several tests and their JVMs share the machine.
const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) struct Engine {
    docker: String,
    host: String,
    pub(crate) jre: String,
}

/// An image in the engine, removed in the end.
pub(crate) struct Loaded<'e> {
    engine: &'e Engine,
    pub(crate) name: String,
}

/// A container, removed in the end.
pub(crate) struct Container<'e> {
    engine: &'e Engine,
    id: String,
}

impl Engine {
    pub(crate) fn find() -> Option<Self> {
        Some(Self {
            docker: peer("DOCKER")?,
            host: peer("DOCKER_HOST")?,
            jre: peer("JRE_IMAGE")?,
        })
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Outcome {
        run(Command::new(&self.docker)
            .args(["-H", &self.host])
            .args(args))
    }

    /// The application on the JRE, as an image of the engine.
    pub(crate) fn load(&self, test: &str, application: Application) -> Loaded<'_> {
        let name = format!("gantry-test/{test}-{}:1", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let (base, image) = (folder.path().join("base"), folder.path().join("image"));
        self.docker(&["save", "-o", base.to_str().unwrap(), &self.jre])
            .success();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let cx = Cx::default();
            let base = archive::open(&cx, &base, &SizeLimits::default())
                .await
                .unwrap();
            let root = (*base.root(&self.jre).unwrap().digest()).into();
            let base = Image::open(&cx, &base, &root, &Platform::host())
                .await
                .unwrap();
            let builder = ImageBuilder::from_base(&base).unwrap();
            let layers = LayerOptions::default();
            let built = images::of(&cx, application, &layers, builder, folder.path()).unwrap();
            let roots = [archive::Root::new(*built.digest(), [name.clone()])];
            let platform = built.config().platform();
            let file = fs::File::create(&image).unwrap();
            archive::write_docker(&cx, Arc::new(built), &roots, &platform, file)
                .await
                .unwrap();
        });
        self.docker(&["load", "-i", image.to_str().unwrap()])
            .success();
        Loaded { engine: self, name }
    }

    /// `docker run -d` with these arguments.
    pub(crate) fn start(&self, args: &[&str]) -> Container<'_> {
        let id = self.docker(&[&["run", "-d"], args].concat()).success();
        Container {
            engine: self,
            id: id.trim().to_owned(),
        }
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        self.engine.docker(&["rmi", "-f", &self.name]);
    }
}

impl Container<'_> {
    /// Standard output and standard error.
    pub(crate) fn logs(&self) -> Outcome {
        self.engine.docker(&["logs", &self.id])
    }

    pub(crate) fn exec(&self, command: &[&str]) -> String {
        self.engine
            .docker(&[&["exec", &self.id], command].concat())
            .success()
    }

    /// Waits until the container has printed `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, || {});
    }

    /// As above, and does something from time to time.
    pub(crate) fn wait_until(&self, text: &str, mut nudge: impl FnMut()) {
        let start = Instant::now();
        let mut nudged = start;
        loop {
            let logs = self.logs();
            if logs.stdout.contains(text) {
                return;
            }
            let state = self
                .engine
                .docker(&["inspect", "-f={{.State.Status}}", &self.id]);
            let running = state.stdout.trim() == "running" || self.logs().stdout.contains(text);
            assert!(
                running && start.elapsed() < PATIENCE,
                "no `{text}` in\n{}{}",
                logs.stdout,
                logs.stderr
            );
            if nudged.elapsed() > Duration::from_secs(15) {
                nudged = Instant::now();
                nudge();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// SIGTERM, and SIGKILL if nothing comes of it; the exit code.
    pub(crate) fn stop(&self) -> i32 {
        self.engine
            .docker(&["stop", "-t", "60", &self.id])
            .success();
        self.exit_code()
    }

    /// The exit code, once the container has ended.
    pub(crate) fn exit_code(&self) -> i32 {
        let code = self.engine.docker(&["wait", &self.id]).success();
        code.trim().parse().unwrap()
    }

    /// A file of the container, which may have ended; none if it is not there.
    pub(crate) fn file(&self, path: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("file");
        let from = format!("{}:{path}", self.id);
        let copied = self.engine.docker(&["cp", &from, to.to_str().unwrap()]);
        (copied.code == 0).then(|| fs::read_to_string(to).unwrap())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.engine.docker(&["rm", "-f", &self.id]);
    }
}
