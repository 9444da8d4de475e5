//! What the dialplan, the console and the AMI say of greetings.

use std::hint::black_box;
use std::path::{Component, Path};

use res_planfix::core::greeting::arguments::{Ask, Enter, KEYS, Play};
use res_planfix::core::greeting::attribute::{Attribute, change, expires};
use res_planfix::core::greeting::kind::{Kind, Presence};
use res_planfix::core::greeting::operator::Operator;
use res_planfix::core::greeting::pin::acceptable;
use res_planfix::core::greeting::selection::Selection;
use res_planfix::core::pattern::Patterns;

use super::readers::is_line;

const NOW: u64 = 1_795_278_600;

/// Arguments of the function and of both applications; a value that is written; operators' names.
pub fn greeting(input: &[u8]) {
    let faults = [
        Ask::parse(input).err(),
        Play::parse(input).err(),
        Enter::parse(input).err(),
    ];
    assert!(faults.iter().flatten().all(|fault| is_line(fault)), "{faults:?}");
    if let Ok(play) = Play::parse(input) {
        assert!((1..=10).contains(&play.times) && play.keys.chars().all(|key| KEYS.contains(key)));
    }
    let operators = Patterns::parse("_X.,_[a-z]!").unwrap();
    // An operator's name is that of his folder.
    if let Ok(operator) = Operator::parse(input, &operators) {
        assert_eq!(
            Operator::parse(operator.to_string().as_bytes(), &operators),
            Ok(operator.clone())
        );
        for name in [operator.ext(), operator.tenant()]
            .into_iter()
            .filter(|name| !name.is_empty())
        {
            assert!(is_line(name) && !name.starts_with('.') && !name.contains(['/', '\\']));
            let path = Path::new(name);
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        }
    }
    let text = String::from_utf8_lossy(input);
    match Selection::parse(&text, &operators) {
        Ok(selection) => {
            let own = selection.one().cloned();
            assert!(own.is_none_or(|own| selection.means(&own) && selection.of([]).contains(&own)));
        }
        Err(fault) => assert!(!fault.is_empty()),
    }
    match expires(&text, NOW) {
        Ok(end) => assert!(end.is_none_or(|end| end > NOW)),
        Err(fault) => assert!(is_line(&fault), "{fault:?}"),
    }
    black_box((
        Kind::parse(&text).is_ok(),
        Presence::parse(&text).is_ok(),
        acceptable(&text).is_ok(),
    ));
    for attribute in Attribute::ALL {
        for kind in [None, Some(Kind::Default)] {
            black_box(change(attribute, kind, &text, NOW).is_ok());
        }
    }
}
