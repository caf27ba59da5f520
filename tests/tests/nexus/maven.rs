//! Maven deploys what we fetch, and gets what we publish.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    nginx::{Nginx, PASSWORD, USER},
    peer, sample_job,
};

use super::{job2docker, succeeds};

const DEPLOY: &str = "org.apache.maven.plugins:maven-deploy-plugin:3.0.0:deploy-file";
const GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.5.0:get";

/// Maven with a local repository of its own, which has Debian's plugins, and no other but ours.
struct Maven {
    program: String,
    folder: PathBuf,
}

impl Maven {
    fn new(program: String, folder: &Path) -> Self {
        let maven = Self {
            program,
            folder: folder.to_owned(),
        };
        // Links: Maven writes beside the files, not into them.
        let copy = ["-rs", "/usr/share/maven-repo/."].map(String::from);
        fs::create_dir(maven.local()).unwrap();
        succeeds(Command::new("cp").args(copy).arg(maven.local()));
        let settings = format!(
            "<settings><interactiveMode>false</interactiveMode><servers><server><id>ours</id>\
             <username>{USER}</username><password>{PASSWORD}</password></server></servers>\
             <mirrors><mirror><id>nobody</id><mirrorOf>central</mirrorOf>\
             <url>file:///nowhere</url></mirror></mirrors></settings>"
        );
        fs::write(folder.join("settings.xml"), settings).unwrap();
        maven
    }

    fn local(&self) -> PathBuf {
        self.folder.join("repository")
    }

    fn run(&self, goal: &str, options: &[String]) -> String {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .args([
                "-B",
                "-ntp",
                "-Dstyle.color=never",
                "-s",
                "settings.xml",
                goal,
            ])
            .arg(format!("-Dmaven.repo.local={}", self.local().display()))
            .args(options.iter().map(|option| format!("-D{option}")));
        succeeds(&mut command)
    }

    fn deploy(
        &self,
        repository: &str,
        file: &Path,
        version: &str,
        artifact: &str,
        packaging: &str,
    ) {
        let options = [
            format!("url={repository}"),
            "repositoryId=ours".to_owned(),
            format!("file={}", file.display()),
            "groupId=org.example".to_owned(),
            format!("artifactId={artifact}"),
            format!("version={version}"),
            format!("packaging={packaging}"),
        ];
        self.run(DEPLOY, &options);
    }

    /// The file that Maven gets for coordinates.
    fn get(&self, repository: &str, artifact: &str, version: &str, packaging: &str) -> Vec<u8> {
        let options = [
            format!("remoteRepositories=ours::default::{repository}"),
            format!("artifact=org.example:{artifact}:{version}:{packaging}"),
            "transitive=false".to_owned(),
        ];
        self.run(GET, &options);
        let name = format!("org/example/{artifact}/{version}/{artifact}-{version}.{packaging}");
        fs::read(self.local().join(name)).unwrap()
    }
}

#[test]
fn maven_deploys_a_job_and_gets_the_application() {
    let (Some(nginx), Some(maven)) = (peer("NGINX"), peer("MVN")) else {
        return;
    };
    let nginx = Nginx::start(&nginx);
    let folder = tempfile::tempdir().unwrap();
    let maven = Maven::new(maven, folder.path());
    let snapshots = format!("{}/repository/snapshots", nginx.base());
    let releases = format!("{}/repository/releases", nginx.base());
    let in_folder = |name: &str| folder.path().join(name);

    for version in ["0.1.0-SNAPSHOT", "0.1.0-SNAPSHOT", "0.1.0"] {
        maven.deploy(&snapshots, &sample_job(), version, "sample_job", "zip");
    }
    let manifest = "[application]\nname = \"orders\"\ngroup = \"org.example\"\n\
                    [[job]]\ncoordinates = \"org.example:sample_job:0.1.0-SNAPSHOT\"\n";
    fs::write(in_folder("jobs.toml"), manifest).unwrap();
    let args = [
        "--json",
        "package",
        "jobs.toml",
        "-v",
        "1.2",
        "--tgz",
        "orders.tgz",
        "--to",
        "oci:orders",
        "--base",
        "scratch",
        "-r",
        &snapshots,
        "--publish",
        &releases,
        "--publish-layout",
        "both",
    ];
    let outcome = job2docker(folder.path(), Some(&nginx), &args).json();
    let fetched = &outcome["sources"][0]["fetched"];
    assert_eq!(fetched["verified"], "sha1");
    let name = fetched["file_name"].as_str().unwrap();
    assert!(
        name.starts_with("sample_job-0.1.0-2") && name.ends_with("-2.zip"),
        "{name}"
    );
    let archive = fs::read(in_folder("orders.tgz")).unwrap();
    assert!(in_folder("orders/index.json").exists());

    // The original's path, and Maven's, as Maven itself sees it.
    let original = nginx
        .root()
        .join("repository/releases/org/example/1.2/orders-1.2.tgz");
    assert_eq!(fs::read(original).unwrap(), archive);
    assert_eq!(maven.get(&releases, "orders", "1.2", "tgz"), archive);

    // Snapshots: Maven counts on where we stopped, and gets what is newest.
    let coordinates = "org.example:orders:1.3-SNAPSHOT";
    let args = ["publish", "orders.tgz", "-c", coordinates, "-r", &snapshots];
    job2docker(folder.path(), Some(&nginx), &args).success();
    assert_eq!(
        maven.get(&snapshots, "orders", "1.3-SNAPSHOT", "tgz"),
        archive
    );
    maven.deploy(
        &snapshots,
        &in_folder("orders.tgz"),
        "1.3-SNAPSHOT",
        "orders",
        "tgz",
    );
    job2docker(folder.path(), Some(&nginx), &args).success();
    let directory = nginx
        .root()
        .join("repository/snapshots/org/example/orders/1.3-SNAPSHOT");
    let names = fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut builds: Vec<_> = names.filter(|name| name.ends_with(".tgz")).collect();
    builds.sort_by_key(|name| name.rsplit('-').next().map(str::to_owned));
    let ends: Vec<_> = builds
        .iter()
        .filter_map(|name| name.rsplit('-').next())
        .collect();
    assert_eq!(ends, ["1.tgz", "2.tgz", "3.tgz"]);
}
