//! From instructions to stages.

use super::{
    Arg, Dockerfile, Import, Instruction, Stage, Wrong,
    lexer::{self, Logical, unquoted, words},
};

pub(super) fn read(text: &str) -> Result<Dockerfile, Vec<Wrong>> {
    let (instructions, escape, mut wrong) = lexer::split(text);
    let mut file = Dockerfile {
        escape,
        ..Dockerfile::default()
    };
    for instruction in &instructions {
        if file.buildkit.is_none() && needs_buildkit(instruction) {
            file.buildkit = Some(instruction.line);
        }
        match (&*instruction.keyword, file.stages.last_mut()) {
            ("FROM", _) => match from(instruction) {
                Ok(stage) => file.stages.push(stage),
                Err(fault) => wrong.push(fault),
            },
            ("ARG", None) => file.args.extend(args(instruction)),
            // After a `FROM` that is wrong itself, this tells nothing new.
            (keyword, None) if wrong.is_empty() => {
                let message = format!("`{keyword}` before the first `FROM`");
                wrong.push(Wrong::at_line(instruction.line, message));
            }
            (keyword, Some(stage)) => stage.imports.extend(imports(keyword, instruction)),
            (_, None) => {}
        }
    }
    if file.stages.is_empty() && wrong.is_empty() {
        wrong.push(Wrong::at_line(1, "no `FROM`"));
    }
    match wrong.is_empty() {
        true => Ok(file),
        false => Err(wrong),
    }
}

fn from(instruction: &Logical) -> Result<Stage, Wrong> {
    let (_, words) = flags(&instruction.rest);
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, Some(name.to_lowercase())),
        _ => {
            let message = "`FROM` needs an image, and nothing else but `AS NAME`";
            return Err(Wrong::at_line(instruction.line, message));
        }
    };
    if let Some(name) = name.as_ref().filter(|name| !is_stage_name(name)) {
        let message = format!("`{name}` is no name of a stage, expected [a-z][a-z0-9-_.]*");
        return Err(Wrong::at_line(instruction.line, message));
    }
    Ok(Stage {
        name,
        base: base.to_owned(),
        line: instruction.line,
        imports: Vec::new(),
    })
}

fn is_stage_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
        })
}

fn args(instruction: &Logical) -> impl Iterator<Item = Arg> {
    words(&instruction.rest).into_iter().map(|word| {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (word, None),
        };
        Arg {
            name: name.to_owned(),
            default,
            line: instruction.line,
        }
    })
}

fn imports(keyword: &str, instruction: &Logical) -> Vec<Import> {
    let (flags, _) = flags(&instruction.rest);
    let import = |from: &str, kind| Import {
        from: from.to_owned(),
        instruction: kind,
        line: instruction.line,
    };
    match keyword {
        "COPY" => {
            let from = flags
                .iter()
                .rev()
                .find_map(|flag| flag.strip_prefix("--from="));
            from.map(|from| import(from, Instruction::Copy))
                .into_iter()
                .collect()
        }
        "RUN" => {
            let mounts = flags
                .iter()
                .filter_map(|flag| flag.strip_prefix("--mount="));
            let from = mounts.filter_map(|mount| {
                mount
                    .split(',')
                    .find_map(|option| option.strip_prefix("from="))
            });
            from.map(|from| import(from, Instruction::Mount)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the builder that engines had before BuildKit refuses it.
fn needs_buildkit(instruction: &Logical) -> bool {
    let classic: &[&str] = match &*instruction.keyword {
        "ADD" => &["--chown"],
        "COPY" => &["--chown", "--from"],
        // Others are words of the command.
        "RUN" => {
            let (flags, _) = flags(&instruction.rest);
            let known = ["--device=", "--mount=", "--network=", "--security="];
            let hit = flags
                .iter()
                .any(|flag| known.iter().any(|known| flag.starts_with(known)));
            return hit || instruction.heredocs > 0;
        }
        _ => return instruction.heredocs > 0,
    };
    let (flags, _) = flags(&instruction.rest);
    let mut names = flags
        .iter()
        .map(|flag| flag.split('=').next().unwrap_or_default());
    instruction.heredocs > 0 || !names.all(|name| classic.contains(&name))
}

/// The flags of an instruction, without quotes, and the words behind them.
fn flags(rest: &str) -> (Vec<String>, Vec<&str>) {
    let mut words = words(rest);
    let count = words
        .iter()
        .take_while(|word| word.starts_with("--"))
        .count();
    let others = words.split_off(count);
    (words.into_iter().map(unquoted).collect(), others)
}
