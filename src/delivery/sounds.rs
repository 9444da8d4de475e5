//! Which of Asterisk's sounds are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Those of the wanted sounds that are not there in that very language, or in one that it is a variety of (`ru_RU`, `ru`;
/// main/file.c, `fileexists_core`), in any format. Asterisk would say them in its default language or leave them out.
#[must_use]
pub fn missing<'a>(
    sounds: &Path,
    language: &str,
    wanted: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    // A whole path has no language: joining it leaves nothing of the folder.
    let is_there =
        |sound: &str| varieties(language).any(|language| exists(&sounds.join(language).join(sound)));
    let wanted: BTreeSet<&str> = wanted.into_iter().collect();
    wanted.into_iter().filter(|sound| !is_there(sound)).collect()
}

fn varieties(language: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(language), |language| {
        language.rsplit_once('_').map(|(parent, _)| parent)
    })
}

/// Whether there is a file of that name with any extension.
fn exists(sound: &Path) -> bool {
    let (Some(folder), Some(name)) = (sound.parent(), sound.file_name()) else {
        return false;
    };
    fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| Path::new(&entry.file_name()).file_stem() == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::missing;
    use std::fs;

    #[test]
    fn a_sound_is_looked_for_in_its_language_and_in_what_that_is_a_variety_of() {
        let folder = tempfile::tempdir().unwrap();
        let sounds = folder.path();
        fs::create_dir_all(sounds.join("ru/digits")).unwrap();
        fs::create_dir_all(sounds.join("en")).unwrap();
        for file in ["ru/beep.gsm", "ru/digits/1.wav", "en/vm-goodbye.gsm", "own.sln16"] {
            fs::write(sounds.join(file), "").unwrap();
        }
        let own = sounds.join("own");
        let wanted = [
            "beep",
            "digits/1",
            "digits/2",
            "vm-goodbye",
            "beep",
            own.to_str().unwrap(),
        ];
        for (language, expected) in [
            ("ru", &["digits/2", "vm-goodbye"][..]),
            ("ru_RU_x", &["digits/2", "vm-goodbye"]),
            ("en", &["beep", "digits/1", "digits/2"]),
            ("de", &["beep", "digits/1", "digits/2", "vm-goodbye"]),
        ] {
            let missing = missing(sounds, language, wanted);
            assert_eq!(missing.into_iter().collect::<Vec<_>>(), expected, "{language}");
        }
    }
}
