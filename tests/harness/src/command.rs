//! The command line of a program that plays something for long: `--name value`, and `--help`.

use std::process::ExitCode;

use anyhow::{Context, Result};

/// Reads the arguments of this program's start and plays what they want. Exit status 2 says that they are wrong, and prints `help`.
pub fn command<W>(
    name: &str,
    help: &str,
    read: impl FnOnce(&mut dyn Iterator<Item = String>) -> Result<Option<W>>,
    play: impl FnOnce(W) -> Result<()>,
) -> ExitCode {
    let wanted = match read(&mut std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {error:#}\n\n{help}");
            return ExitCode::from(2);
        }
    };
    match play(wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Gives each option with its value. False when help is asked for.
///
/// # Errors
/// An option without a value, or what `take` says.
pub fn each_option(
    arguments: &mut dyn Iterator<Item = String>,
    mut take: impl FnMut(&str, &str) -> Result<()>,
) -> Result<bool> {
    while let Some(argument) = arguments.next() {
        if argument == "--help" {
            return Ok(false);
        }
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        take(&argument, &value)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::each_option;

    fn read(words: &[&str]) -> Result<(bool, Vec<String>), String> {
        let mut taken = Vec::new();
        let mut words = words.iter().map(|word| (*word).to_owned());
        let whole = each_option(&mut words, |name, value| {
            taken.push(format!("{name}={value}"));
            Ok(())
        });
        whole
            .map(|whole| (whole, taken))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_come_in_pairs_and_help_ends_them() {
        assert_eq!(
            read(&["--a", "1", "--b", "2"]),
            Ok((true, vec!["--a=1".to_owned(), "--b=2".to_owned()]))
        );
        assert_eq!(
            read(&["--a", "1", "--help", "--b"]),
            Ok((false, vec!["--a=1".to_owned()]))
        );
        assert_eq!(read(&["--a"]), Err("--a needs a value".to_owned()));
    }
}
