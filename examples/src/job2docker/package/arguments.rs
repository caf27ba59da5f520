use std::{env, path::PathBuf};

use clap::ValueEnum;
use ocicore::Platform;
use talend::{
    application::ApplicationPlan,
    manifest::{Coordinates, Manifest},
    nexus::{Checksums, Client, PublishLayout, PublishSpec, Repository},
};

use super::lacking;
use crate::{
    Failure, Place, Result,
    job2docker::{Base, Conversion, RepositoryArgument, Side, client},
};

/// Options of `job2docker package`.
#[derive(clap::Args, Debug)]
pub struct Package {
    /// The manifest alone; or the original's ARTIFACT GROUP VERSION MANIFEST NEXUS_HOST, of which
    /// the last ones may be left out
    #[arg(value_name = "ARGUMENT", num_args = 0..=5)]
    arguments: Vec<String>,
    /// The manifest: a URL, coordinates or a file on each line, or TOML [default: job_manifest.cfg]
    #[arg(short, long, value_name = "FILE", env = "TALEND_PACKAGER_JOB_MANIFEST")]
    manifest: Option<PathBuf>,
    /// Name of the application [default: that of the manifest]
    #[arg(short, long, value_name = "NAME", env = "TALEND_PACKAGER_APP_NAME")]
    app: Option<String>,
    /// Maven group in which it is published, as `com.example` or `com/example`
    #[arg(short, long, value_name = "GROUP", env = "TALEND_PACKAGER_GROUP_PATH")]
    group: Option<String>,
    /// Version of the application [default: that of the manifest, else 0.1.0-SNAPSHOT]
    #[arg(
        short = 'v',
        long,
        value_name = "VERSION",
        env = "TALEND_PACKAGER_VERSION"
    )]
    app_version: Option<String>,
    /// Host of a Nexus 3 on port 8081: coordinates are searched there, and the archive is published
    /// to its repository `snapshots`
    #[arg(short, long, value_name = "HOST", env = "TALEND_PACKAGER_NEXUS_HOST")]
    nexus_host: Option<String>,
    /// Where coordinates are looked up: the address of a Maven repository,
    /// nexus2+ADDRESS#REPOSITORY, or nexus3+ADDRESS[#REPOSITORY] for its search
    #[arg(short, long, value_name = "ADDRESS")]
    repository: Vec<RepositoryArgument>,
    /// Publish the archive to this Maven repository
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TALEND_PACKAGER_NEXUS_TARGET_REPO"
    )]
    publish: Option<String>,
    /// Where in that repository: the original's path, Maven's with pom and metadata, or both
    #[arg(long, value_name = "LAYOUT", default_value = "original")]
    publish_layout: PublishLayoutName,
    /// User for downloads; the password is in TALEND_PACKAGER_NEXUS_SOURCE_PASSWORD or is asked for
    /// [default: TALEND_PACKAGER_NEXUS_SOURCE_USERID, else ~/.netrc]
    #[arg(short, long, value_name = "USER[:PASSWORD]")]
    source_user: Option<String>,
    /// User for publishing, likewise with TALEND_PACKAGER_NEXUS_TARGET_USERID and ..._PASSWORD
    #[arg(short, long, value_name = "USER[:PASSWORD]")]
    target_user: Option<String>,
    /// Directory in which downloads are kept, so that none is repeated
    /// [default: job2docker in the user's cache directory]
    #[arg(short, long, value_name = "DIR", env = "TALEND_PACKAGER_WORKING_DIR")]
    work_dir: Option<PathBuf>,
    /// Refuse jobs without a checksum in their repository
    #[arg(long)]
    require_checksums: bool,
    /// Where the image goes: docker://REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,
    /// docker-daemon:REF
    #[arg(long, value_name = "TARGET")]
    to: Vec<Place>,
    /// What the image is built on: a reference, `scratch`, or a place as for --to
    /// [default: a JRE that fits the newest Studio among the jobs]
    #[arg(long, value_name = "REF")]
    base: Option<Base>,
    /// Platform of the base
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// Write the application as a tar.gz
    #[arg(long, value_name = "FILE")]
    tgz: Option<PathBuf>,
    /// Leave sources, items and other residue of the build out of the tar.gz, too
    #[arg(long)]
    drop: bool,
    /// The entry point that the image starts, if nothing else is asked for
    #[arg(long, value_name = "ENTRYPOINT")]
    default: Option<String>,
    /// Take one job in several versions, each in a directory of its own
    #[arg(long)]
    separate_versions: bool,
    #[command(flatten)]
    conversion: Conversion,
    /// Fetch and check the jobs, say what would be done, and do no more
    #[arg(long)]
    dry_run: bool,
}

/// Layouts of archives in a repository.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PublishLayoutName {
    /// `<group>/<version>/<artifact>-<version>.tgz`
    Original,
    /// `<group>/<artifact>/<version>/<artifact>-<version>.tgz`
    Maven,
    /// Both of them.
    Both,
}

impl PublishLayoutName {
    /// As the library has them.
    pub fn layouts(self) -> &'static [PublishLayout] {
        match self {
            Self::Original => &[PublishLayout::Original],
            Self::Maven => &[PublishLayout::Maven],
            Self::Both => &[PublishLayout::Original, PublishLayout::Maven],
        }
    }
}

/// What a command line means.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) manifest: PathBuf,
    pub(super) repositories: Vec<Repository>,
    pub(super) publish: Option<String>,
    pub(super) work_dir: PathBuf,
    pub(super) to: Vec<Place>,
    pub(super) base: Option<Base>,
    pub(super) platform: Platform,
    pub(super) tgz: Option<PathBuf>,
    pub(super) drop: bool,
    pub(super) default: Option<String>,
    pub(super) separate_versions: bool,
    pub(super) conversion: Conversion,
    pub(super) dry_run: bool,
    app: Option<String>,
    group: Option<String>,
    version: Option<String>,
    publish_layout: PublishLayoutName,
    source_user: Option<String>,
    target_user: Option<String>,
    checksums: Checksums,
}

/// What is released.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) app: String,
    pub(super) version: String,
    group: Option<String>,
}

impl Wanted {
    pub(super) fn new(command: Package) -> Result<Self> {
        let [app, group, version, manifest, host] = positions(&command);
        let nexus_host = host.or(command.nexus_host);
        let mut repositories: Vec<_> = command.repository.into_iter().map(|one| one.0).collect();
        let mut publish = command.publish;
        if let Some(host) = &nexus_host {
            let server = format!("http://{host}:8081");
            if repositories.is_empty() {
                repositories.push(Repository::nexus3_search(&server, None)?);
            }
            publish.get_or_insert_with(|| format!("{server}/repository/snapshots"));
        }
        if command.to.is_empty() && command.tgz.is_none() && publish.is_none() && !command.dry_run {
            return Err(lacking(
                "place for the application",
                "give `--to TARGET`, `--tgz FILE`, `--publish ADDRESS` or `--dry-run`",
            ));
        }
        if let Some(address) = &publish {
            // What is no address is said before anything is fetched.
            Repository::maven(address).map_err(|error| {
                Failure::from(error).context(format!("cannot publish to `{address}`"))
            })?;
        }
        let manifest = manifest.map(PathBuf::from).or(command.manifest);
        Ok(Self {
            manifest: manifest.unwrap_or_else(|| PathBuf::from("job_manifest.cfg")),
            repositories,
            publish,
            work_dir: command.work_dir.map_or_else(cache_directory, Ok)?,
            to: command.to,
            base: command.base,
            platform: command.platform,
            tgz: command.tgz,
            drop: command.drop,
            default: command.default,
            separate_versions: command.separate_versions,
            conversion: command.conversion,
            dry_run: command.dry_run,
            app: app.or(command.app),
            group: group.or(command.group),
            version: version.or(command.app_version),
            publish_layout: command.publish_layout,
            source_user: command.source_user,
            target_user: command.target_user,
            checksums: match command.require_checksums {
                true => Checksums::Required,
                false => Checksums::IfAny,
            },
        })
    }

    /// What the manifest and the command line say together; the latter counts.
    pub(super) fn unit(&self, manifest: &Manifest) -> Result<Unit> {
        let app = self.app.as_ref().or(manifest.name.as_ref());
        let app = app.ok_or_else(|| {
            lacking(
                "name for the application",
                "give `-a NAME`, TALEND_PACKAGER_APP_NAME, or `name` in the manifest",
            )
        })?;
        let version = self.version.as_ref().or(manifest.version.as_ref());
        let group = self.group.as_ref().or(manifest.group.as_ref());
        if self.publish.is_some() && group.is_none() {
            return Err(lacking(
                "Maven group to publish in",
                "give `-g GROUP`, TALEND_PACKAGER_GROUP_PATH, or `group` in the manifest",
            ));
        }
        Ok(Unit {
            app: app.clone(),
            version: version.map_or("0.1.0-SNAPSHOT", String::as_str).to_owned(),
            group: group.map(|group| group.replace('/', ".")),
        })
    }

    pub(super) fn source_client(&self) -> Result<Client> {
        let user = self.source_user.as_deref();
        client(Side::Source, user, self.checksums)
    }

    pub(super) fn target_client(&self) -> Result<Client> {
        client(Side::Target, self.target_user.as_deref(), Checksums::IfAny)
    }
}

impl Unit {
    /// What is published: one archive in one or two places.
    pub(super) fn publish_specs(
        &self,
        wanted: &Wanted,
        plan: &ApplicationPlan,
    ) -> Result<Vec<PublishSpec>> {
        let group = self.group.as_deref().unwrap_or_default();
        let coordinates = format!("{group}:{}:{}", self.app, self.version);
        let coordinates: Coordinates = coordinates
            .parse()
            .map_err(|error| Failure::new(ocicore::Class::Invalid, error as String))?;
        let jobs = plan.jobs.iter().map(|placed| &placed.job);
        let jobs: Vec<_> = jobs
            .map(|job| format!("{} {}", job.name, job.version))
            .collect();
        let description = format!("Talend jobs: {}", jobs.join(", "));
        let specs = wanted.publish_layout.layouts().iter().map(|layout| {
            PublishSpec::new(coordinates.clone())
                .with_layout(*layout)
                .with_description(&description)
        });
        Ok(specs.collect())
    }
}

/// The original's arguments by position; a single one is the manifest, unless that is named
/// otherwise.
fn positions(command: &Package) -> [Option<String>; 5] {
    let given = &command.arguments;
    if let ([manifest], None) = (given.as_slice(), &command.manifest) {
        return [None, None, None, Some(manifest.clone()), None];
    }
    [0, 1, 2, 3, 4].map(|at| given.get(at).filter(|text| !text.is_empty()).cloned())
}

fn cache_directory() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = cache.filter(|path| path.is_absolute()).or_else(home);
    cache.map(|cache| cache.join("job2docker")).ok_or_else(|| {
        lacking(
            "directory for downloads",
            "give `-w DIR`, or set TALEND_PACKAGER_WORKING_DIR or HOME",
        )
    })
}
