//! What will be built, in which order, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use ocicore::Reference;
use serde::Serialize;

use crate::{
    BuildFlags, Fault, Located, Note, Place, Position, Problem, Project, Remark, Result, Selection,
    Switch,
    dockerfile::{self, Base, BaseImage, Instruction},
    error::Problems,
    file::{BuilderType, Image},
    graph, packer,
    project::{Found, unreadable},
};

/// The images of a chain in an order in which they can be built. Data: to print it is the dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What to build, parents before their children, otherwise in the order of the files.
    pub steps: Vec<Step>,
    /// Keys of images that are not selected.
    pub skipped: Vec<String>,
    /// What may surprise.
    pub notes: Vec<Note>,
}

/// An image to build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What it is selected by.
    pub key: String,
    /// All its names; none if only packer knows them.
    pub tags: Vec<Reference>,
    /// What builds it.
    pub builder: BuilderType,
    /// The Dockerfile or packer template, relative to the root.
    pub file: PathBuf,
    /// The build context, relative to the root.
    pub working_dir: PathBuf,
    /// Where it is listed.
    pub listed: Place,
    /// The images that it uses, in the order of the text.
    pub parents: Vec<Parent>,
    /// The first instruction of the Dockerfile that only BuildKit understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buildkit: Option<Place>,
    /// How to build a Dockerfile.
    pub flags: BuildFlags,
    /// Arguments for packer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packer_args: Vec<String>,
}

/// An image that another one uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Parent {
    /// Its name, as short as it can be written.
    pub image: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// How it is used.
    pub instruction: Instruction,
    /// Where.
    pub place: Place,
}

/// Where a parent comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// It is built before.
    Built {
        /// Its key.
        key: String,
    },
    /// It belongs to the chain, but is taken as it is.
    NotSelected {
        /// Its key.
        key: String,
    },
    /// It does not belong to the chain.
    External,
    /// Only the build will know.
    Unknown,
}

impl Plan {
    /// Hosts of the registries from which images come that the chain does not build, sorted.
    pub fn external_hosts(&self) -> BTreeSet<String> {
        let parents = self.steps.iter().flat_map(|step| &step.parents);
        parents
            .filter(|parent| parent.origin == Origin::External)
            .filter_map(|parent| parent.image.parse::<Reference>().ok())
            .map(|reference| reference.repository().host().to_owned())
            .collect()
    }
}

impl Step {
    /// Its first name, as short as it can be written, or its key.
    pub fn label(&self) -> String {
        self.tags.first().map_or_else(|| self.key.clone(), familiar)
    }

    /// Keys of the images that must be built before.
    pub fn needs(&self) -> BTreeSet<&str> {
        let keys = self
            .parents
            .iter()
            .filter_map(|parent| match &parent.origin {
                Origin::Built { key } => Some(&**key),
                _ => None,
            });
        keys.collect()
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.image)
    }
}

/// Plans what to build. Reads and writes nothing.
///
/// # Errors
/// [`Error::Problems`](crate::Error::Problems) with all that is wrong with the files of the
/// selected images, and with cycles; [`Error::UnknownImages`](crate::Error::UnknownImages).
pub fn plan(project: &Project, selection: &Selection) -> Result<Plan> {
    let mut planner = Planner {
        project,
        images: project
            .images
            .iter()
            .map(|image| Analyzed::of(image, project))
            .collect(),
        notes: project.notes.clone(),
        problems: Vec::new(),
    };
    let tags: Vec<_> = planner
        .images
        .iter()
        .map(|image| image.tags.clone())
        .collect();
    let selected = selection.apply(&project.images, &tags)?;
    for (image, _) in planner
        .images
        .iter_mut()
        .zip(&selected)
        .filter(|(_, selected)| **selected)
    {
        planner.problems.append(&mut image.problems);
    }
    let makers = planner.makers(&selected);
    let numbers = project
        .images
        .iter()
        .enumerate()
        .map(|(number, image)| (&*image.key, number));
    let numbers: BTreeMap<&str, usize> = numbers.collect();
    let mut steps: Vec<Option<Step>> = Vec::new();
    let mut needs = Vec::new();
    for (index, image) in project.images.iter().enumerate() {
        let step = selected[index].then(|| planner.step(index, &makers, &selected));
        let keys = step.as_ref().map(Step::needs).unwrap_or_default();
        let parents = keys
            .iter()
            .filter_map(|key| numbers.get(key).copied())
            .collect();
        planner.note_order(index, image, &parents);
        needs.push(parents);
        steps.push(step);
    }
    let order = graph::order(&needs).unwrap_or_else(|cycles| {
        planner.cycles(&cycles);
        Vec::new()
    });
    Problems::check(planner.problems)?;
    planner.notes.sort_by(|a, b| a.place.cmp(&b.place));
    let skipped = project
        .images
        .iter()
        .zip(&selected)
        .filter(|(_, selected)| !**selected);
    Ok(Plan {
        skipped: skipped.map(|(image, _)| image.key.clone()).collect(),
        steps: order
            .into_iter()
            .filter_map(|index| steps[index].take())
            .collect(),
        notes: planner.notes,
    })
}

/// An image with what its Dockerfile or template says.
struct Analyzed {
    tags: Vec<Reference>,
    bases: Vec<Base>,
    buildkit: Option<Place>,
    problems: Vec<Problem>,
}

impl Analyzed {
    fn of(image: &Image, project: &Project) -> Self {
        let tags = image.tag.iter().chain(&image.flags.tags).cloned().collect();
        let mut analyzed = Self {
            tags,
            bases: Vec::new(),
            buildkit: None,
            problems: Vec::new(),
        };
        match (project.files.get(&image.file), image.builder) {
            (Some(Found::Text(text)), BuilderType::Packer) => analyzed.template(image, text),
            (Some(Found::Text(text)), _) => analyzed.dockerfile(image, text),
            (None | Some(Found::Missing), builder) => {
                let what = match builder {
                    BuilderType::Packer => "packer template",
                    _ => "Dockerfile",
                };
                let fault = Fault::Dangling {
                    what,
                    path: image.file.clone(),
                    image: image.key.clone(),
                };
                analyzed
                    .problems
                    .push(Located::new(image.place.clone(), fault));
            }
            (Some(found), _) => analyzed
                .problems
                .push(unreadable(&image.file, found.clone())),
        }
        analyzed
    }

    fn dockerfile(&mut self, image: &Image, text: &str) {
        let flags = &image.flags;
        let args = flags
            .build_args
            .iter()
            .map(|(name, arg)| (&**name, arg.value()))
            .collect();
        let bases = dockerfile::parse(text).and_then(|file| {
            let buildkit = file.buildkit.map(|line| Position { line, column: 1 });
            self.buildkit = buildkit.map(|position| Place::new(&image.file, position));
            file.bases(&args, flags.target.as_deref())
        });
        match bases {
            Ok(bases) => self.bases = bases,
            Err(wrong) => self.problems.extend(wrong.into_iter().map(|wrong| {
                let place = Place::new(&image.file, wrong.position);
                let message = wrong.message;
                Located::new(place, Fault::Dockerfile { message })
            })),
        }
    }

    fn template(&mut self, image: &Image, text: &str) {
        match packer::parse(&image.file, text, &packer::overrides(&image.packer_args)) {
            Ok(template) => {
                self.bases = template.bases;
                self.tags.extend(template.tags);
                self.tags.dedup();
            }
            Err(problems) => self.problems.extend(problems),
        }
    }
}

struct Planner<'a> {
    project: &'a Project,
    images: Vec<Analyzed>,
    notes: Vec<Note>,
    problems: Vec<Problem>,
}

impl Planner<'_> {
    /// Which image makes a name; one that is selected before one that is not.
    fn makers(&mut self, selected: &[bool]) -> BTreeMap<Reference, usize> {
        let mut makers: BTreeMap<Reference, usize> = BTreeMap::new();
        for (index, image) in self.images.iter().enumerate() {
            for tag in &image.tags {
                let Some(&other) = makers.get(tag).filter(|other| **other != index) else {
                    makers.insert(tag.clone(), index);
                    continue;
                };
                if selected[index] && selected[other] {
                    let [image, other] = [index, other].map(|index| &self.project.images[index]);
                    let fault = Fault::SameTag {
                        key: image.key.clone(),
                        tag: familiar(tag),
                        other: other.key.clone(),
                    };
                    self.problems.push(Located::new(image.place.clone(), fault));
                } else if selected[index] {
                    makers.insert(tag.clone(), index);
                }
            }
        }
        makers
    }

    fn step(
        &mut self,
        index: usize,
        makers: &BTreeMap<Reference, usize>,
        selected: &[bool],
    ) -> Step {
        let image = &self.project.images[index];
        let analyzed = &self.images[index];
        let mut remarks = Vec::new();
        let mut parents = Vec::new();
        for base in &analyzed.bases {
            let (name, origin) = match &base.image {
                BaseImage::Unknown(text) => {
                    remarks.push(Remark::UnknownParent {
                        key: image.key.clone(),
                        image: text.clone(),
                    });
                    (text.clone(), Origin::Unknown)
                }
                BaseImage::Known(reference) => {
                    let key = |maker: &usize| self.project.images[*maker].key.clone();
                    let origin = match makers.get(reference) {
                        Some(maker) if selected[*maker] => Origin::Built { key: key(maker) },
                        Some(maker) => {
                            remarks.push(Remark::ParentNotSelected {
                                key: image.key.clone(),
                                parent: key(maker),
                            });
                            Origin::NotSelected { key: key(maker) }
                        }
                        None => Origin::External,
                    };
                    (familiar(reference), origin)
                }
            };
            parents.push(Parent {
                image: name,
                origin,
                instruction: base.instruction,
                place: Place::new(&image.file, base.position),
            });
        }
        if analyzed.tags.is_empty() && analyzed.problems.is_empty() {
            remarks.push(Remark::NoTemplateTag {
                key: image.key.clone(),
            });
        }
        let mut step = Step {
            key: image.key.clone(),
            tags: analyzed.tags.clone(),
            builder: image.builder,
            file: image.file.clone(),
            working_dir: image.working_dir.clone(),
            listed: image.place.clone(),
            parents,
            buildkit: analyzed.buildkit.clone(),
            flags: image.flags.clone(),
            packer_args: image.packer_args.clone(),
        };
        // A registry's image in the place of one that was just built would be a stale parent.
        let parent = step.needs().first().map(|parent| (*parent).to_owned());
        if let Some(parent) = parent.filter(|_| step.flags.switches.remove(&Switch::Pull)) {
            remarks.push(Remark::PullIgnored {
                key: image.key.clone(),
                parent,
            });
        }
        remarks.dedup();
        let notes = remarks
            .into_iter()
            .map(|remark| Located::new(image.place.clone(), remark));
        self.notes.extend(notes);
        step
    }

    fn note_order(&mut self, index: usize, image: &Image, parents: &BTreeSet<usize>) {
        for &parent in parents.iter().filter(|parent| **parent > index) {
            let remark = Remark::ListedBeforeParent {
                key: image.key.clone(),
                parent: self.project.images[parent].key.clone(),
            };
            self.notes.push(Located::new(image.place.clone(), remark));
        }
    }

    fn cycles(&mut self, cycles: &[Vec<usize>]) {
        let images = &self.project.images;
        for cycle in cycles {
            // The first one once more shows that it is one.
            let keys: Vec<_> = cycle
                .iter()
                .chain(cycle.first())
                .map(|&node| images[node].key.clone())
                .collect();
            if let Some(&first) = cycle.first() {
                let place = images[first].place.clone();
                self.problems
                    .push(Located::new(place, Fault::Cycle { keys }));
            }
        }
    }
}

/// A name without what Docker adds by itself, but with its tag.
pub(crate) fn familiar(reference: &Reference) -> String {
    let name = reference.to_string();
    let name = name.strip_prefix("docker.io/").unwrap_or(&name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}
