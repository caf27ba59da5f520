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
    /// What `job2docker build` says there, and the archive that it writes.
    fn build(&self, root: &Path, zip: &Path) -> (Value, Vec<u8>) {
        let directory = root.join(self.directory);
        fs::create_dir_all(&directory).unwrap();
        // The program must be where anyone may run it.
        let job2docker = root.join("job2docker");
        let built = PathBuf::from(program("job2docker").get_program());
        fs::copy(built, &job2docker).unwrap();
        let here = directory.join(zip.file_name().unwrap());
        self.reorder(zip, &here);
        let owner = if self.nobody && is_root() {
            "65534"
        } else {
            ""
        };
        let line = format!(
            "set -e; umask {}; if [ -n '{owner}' ]; then chown -R '{owner}' .; \
             exec setpriv --reuid '{owner}' --regid '{owner}' --clear-groups -- \"$@\"; fi; exec \"$@\"",
            self.umask
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &line, "sh"])
            .arg(&job2docker)
            .arg("build")
            .arg(here.file_name().unwrap())
            .args([
                "--json",
                "--base",
                "scratch",
                "--to",
                "oci:image:1",
                "--tgz",
                "job.tgz",
            ])
            .current_dir(&directory)
            .env_remove("SOURCE_DATE_EPOCH")
            .envs(self.env);
        let said = run(&mut command).json();
        (said, fs::read(directory.join("job.tgz")).unwrap())
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

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn two_machines_give_the_same_digest() {
    let mut zips = vec![sample_job()];
    if let Some(data) = real_data() {
        zips.push(data.join("talend/docker_hello_world_0.1.zip"));
    }
    for zip in zips {
        let [one, two] = MACHINES.map(|machine| {
            let root = tempfile::tempdir().unwrap();
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(root.path(), open).unwrap();
            machine.build(root.path(), &zip)
        });
        let digest = |said: &Value| said["written"]["digest"].as_str().unwrap().to_owned();
        assert_eq!(digest(&one.0), digest(&two.0), "{}", zip.display());
        assert!(one.1 == two.1, "{}: the archives", zip.display());
    }
}
