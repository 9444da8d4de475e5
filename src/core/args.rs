//! The argument list of a dialplan function.
//!
//! Rule (main/app.c, `__ast_app_separate_args`): commas separate, except inside double quotes, parentheses or
//! brackets; quotes and backslashes are taken away, a backslash protects the next byte. Bytes are kept as they are:
//! a channel variable need not be UTF-8.

use std::borrow::Cow;

/// Splits `text` at its commas.
#[must_use]
pub fn split(text: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut list = Vec::with_capacity(8);
    let mut rest = text;
    loop {
        let (argument, tail) = first(rest);
        list.push(argument);
        match tail {
            Some(tail) => rest = tail,
            None => return list,
        }
    }
}

/// The first argument and what follows its comma, if there is one.
#[must_use]
pub fn first(text: &[u8]) -> (Cow<'_, [u8]>, Option<&[u8]>) {
    let (mut parentheses, mut brackets, mut quoted) = (0_usize, 0_usize, false);
    // Nothing is copied until the first quote or backslash, which most arguments never have.
    let mut copied: Option<Vec<u8>> = None;
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        match byte {
            b'"' => {
                quoted = !quoted;
                copied.get_or_insert_with(|| text[..index].to_vec());
                index += 1;
                continue;
            }
            b'\\' => {
                let kept = copied.get_or_insert_with(|| text[..index].to_vec());
                kept.extend(text.get(index + 1));
                index += 2;
                continue;
            }
            _ if quoted => {}
            b'(' => parentheses += 1,
            b')' => parentheses = parentheses.saturating_sub(1),
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            b',' if parentheses == 0 && brackets == 0 => {
                let argument = copied.map_or(Cow::Borrowed(&text[..index]), Cow::Owned);
                return (argument, Some(&text[index + 1..]));
            }
            _ => {}
        }
        if let Some(kept) = &mut copied {
            kept.push(byte);
        }
        index += 1;
    }
    (copied.map_or(Cow::Borrowed(text), Cow::Owned), None)
}

#[cfg(test)]
mod tests {
    use super::split;

    fn strings(text: &str) -> Vec<String> {
        split(text.as_bytes())
            .into_iter()
            .map(|part| String::from_utf8(part.into_owned()).unwrap())
            .collect()
    }

    #[test]
    fn commas_separate_but_not_inside_quotes_and_parentheses() {
        assert_eq!(strings(""), [""]);
        assert_eq!(strings("a,b,,c,"), ["a", "b", "", "c", ""]);
        assert_eq!(strings("\"a,b\",c"), ["a,b", "c"]);
        assert_eq!(strings("f(1,2),[3,4],5"), ["f(1,2)", "[3,4]", "5"]);
        assert_eq!(strings("a\\,b,c\\\\d\\"), ["a,b", "c\\d"]);
        assert_eq!(
            strings("data_имя=значение, с пробелом"),
            ["data_имя=значение", " с пробелом"]
        );
        assert_eq!(strings("7 (910) 123,)x,y"), ["7 (910) 123", ")x", "y"]);
    }

    #[test]
    fn bytes_that_are_not_utf8_pass() {
        assert_eq!(split(b"\xff,\xd0")[1].as_ref(), b"\xd0");
    }
}
