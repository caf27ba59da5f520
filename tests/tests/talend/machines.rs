//! The same job on two machines that have little in common: the same digest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{program, real_data, run, sample_job};
use serde_json::Value;

/// What one machine differs in from another.
struct Machine {
    umask: &'static str,
    /// Environment variables.
    env: [(&'static str, &'static str); 3],
    /// Name of the directory to work in.
    directory: &'static str,
    /// Runs as nobody, where the test may choose.
    nobody: bool,
    /// In which order the archive has its entries.
    order: fn(&mut Vec<usize>),
}

const MACHINES: [Machine; 2] = [
    Machine {
        umask: "022",
        env: [("TZ", "UTC"), ("LC_ALL", "C"), ("HOME", "/root")],
        directory: "a",
        nobody: false,
        order: |_| {},
    },
    Machine {
        umask: "077",
        env: [
            ("TZ", "Pacific/Auckland"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("HOME", "/nonexistent"),
        ],
        directory: "a directory of another name/ü",
        nobody: true,
        order: |order| order.reverse(),
    },
];

impl Machine {
    /// What `job2docker` says there, and the archive that it writes: of one job, or of several as one
    /// application.
    fn run(&self, root: &Path, zips: &[PathBuf]) -> (Value, Vec<u8>) {
        let directory = root.join(self.directory);
        fs::create_dir_all(&directory).unwrap();
        // The program must be where anyone may run it.
        let job2docker = root.join("job2docker");
        let built = PathBuf::from(program("job2docker").get_program());
        fs::copy(built, &job2docker).unwrap();
        let mut manifest = String::new();
        for zip in zips {
            let name = zip.file_name().unwrap();
            self.reorder(zip, &directory.join(name));
            manifest.push_str(&format!("{}\n", name.to_str().unwrap()));
        }
        fs::write(directory.join("jobs.txt"), &manifest).unwrap();
        let mut command = self.command();
        command.arg(&job2docker);
        match zips {
            [_] => command.args(["build", manifest.trim_end()]),
            _ => command.args(["package", "jobs.txt", "--app", "demo", "--work-dir", "work"]),
        };
        command
            .args(["--json", "--base", "scratch", "--to", "oci:image:1"])
            .args(["--tgz", "jobs.tgz"])
            .current_dir(&directory)
            .env_remove("SOURCE_DATE_EPOCH")
            .envs(self.env);
        let said = run(&mut command).json();
        (said, fs::read(directory.join("jobs.tgz")).unwrap())
    }

    /// Runs its arguments as the machine's user, with its umask.
    fn command(&self) -> Command {
        let owner = match self.nobody && nix::unistd::geteuid().is_root() {
            true => "65534",
            false => "",
        };
        let line = format!(
            "set -e; umask {}; if [ -n '{owner}' ]; then chown -R '{owner}' .; \
             exec setpriv --reuid '{owner}' --regid '{owner}' --clear-groups -- \"$@\"; fi; \
             exec \"$@\"",
            self.umask
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line, "sh"]);
        command
    }

    /// The archive with its entries in another order; their bytes stay.
    fn reorder(&self, zip: &Path, to: &Path) {
        let mut from = zip::ZipArchive::new(fs::File::open(zip).unwrap()).unwrap();
        let mut order: Vec<usize> = (0..from.len()).collect();
        (self.order)(&mut order);
        let mut writer = zip::ZipWriter::new(fs::File::create(to).unwrap());
        for index in order {
            writer
                .raw_copy_file(from.by_index_raw(index).unwrap())
                .unwrap();
        }
        writer.finish().unwrap();
    }
}

#[test]
fn two_machines_give_the_same_digest() {
    let mut releases = vec![vec![sample_job()]];
    if let Some(data) = real_data() {
        let jobs = ["docker_hello_world", "job2docker_listener"];
        let jobs = jobs.map(|job| data.join(format!("talend/{job}_0.1.zip")));
        releases.push(vec![jobs[0].clone()]);
        releases.push(vec![jobs[0].clone(), sample_job(), jobs[1].clone()]);
    }
    for zips in releases {
        let [one, two] = MACHINES.map(|machine| {
            let root = tempfile::tempdir().unwrap();
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(root.path(), open).unwrap();
            machine.run(root.path(), &zips)
        });
        let digest = |said: &Value| said["written"]["digest"].as_str().unwrap().to_owned();
        assert_eq!(digest(&one.0), digest(&two.0), "{zips:?}");
        assert!(one.1 == two.1, "{zips:?}: the archives");
    }
}
