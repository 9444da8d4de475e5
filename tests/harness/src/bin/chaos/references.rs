//! Asterisk's reference debug: which of its counted objects were made and never freed.
//!
//! Invariant: pure. A leak is what grows with the cycles: a place that makes objects of which about one is left for each, or
//! an object to which about one reference is left for each. What was there before the cycles is Asterisk's own, which leaves
//! thousands behind at its end; of that only new references count.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use anyhow::Result;

/// The module's own calls come from this file; whatever it calls in Asterisk comes from others.
const OURS: &str = "shim.c";

#[derive(Debug, Default)]
struct Object {
    /// Where it was made.
    made: String,
    references: i64,
    ours: bool,
    /// Made before the cycles.
    early: bool,
}

/// What is left, by where it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Lines that were read.
    pub(crate) lines: usize,
    /// How many objects, how many references at most to one of them, and how many that the module has touched.
    pub(crate) places: BTreeMap<String, (usize, i64, usize)>,
    /// References to what was freed already, from the module.
    pub(crate) invalid: Vec<String>,
}

impl Left {
    /// Reads the log: `object,delta,thread,file,line,function,state,tag` (main/astobj2.c). The cycles begin at its byte `begin`.
    pub(crate) fn read(mut log: impl BufRead, begin: u64) -> Result<Self> {
        let mut left = Self::default();
        let mut objects: HashMap<u64, Object> = HashMap::new();
        let (mut line, mut place) = (Vec::new(), 0);
        loop {
            let early = place < begin;
            let length = log.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            place += length as u64;
            left.take(&String::from_utf8_lossy(&line), &mut objects);
            line.clear();
            if early && place >= begin {
                for object in objects.values_mut() {
                    (object.early, object.references, object.ours) = (true, 0, false);
                }
            }
        }
        // Two threads that let go of an object at once may write in another order than they did it, and the later line speaks of
        // an object that is freed: nothing is left of such a one.
        let left_over = objects.into_values().filter(|object| object.references > 0);
        for object in left_over {
            let place = left.places.entry(object.made).or_default();
            place.0 += usize::from(!object.early);
            place.1 = place.1.max(object.references);
            place.2 += usize::from(object.ours);
        }
        Ok(left)
    }

    fn take(&mut self, line: &str, objects: &mut HashMap<u64, Object>) {
        let mut cells = line.trim_end().splitn(8, ',');
        let mut next = || cells.next().unwrap_or_default();
        let (name, delta, _, file, at, _, state) = (next(), next(), next(), next(), next(), next(), next());
        let Ok(name) = u64::from_str_radix(name.trim_start_matches("0x"), 16) else {
            return;
        };
        self.lines += 1;
        let file = file.rsplit('/').next().unwrap_or_default();
        if state.contains("**invalid**") {
            if file == OURS {
                self.invalid.push(line.trim_end().to_owned());
            }
        } else if state.contains("**destructor") {
            objects.remove(&name);
        } else {
            let object = objects.entry(name).or_default();
            if state.contains("**constructor") {
                *object = Object {
                    made: format!("{file}:{at}"),
                    ..Object::default()
                };
            }
            object.references += delta.trim_start_matches('+').parse::<i64>().unwrap_or(0);
            object.ours |= file == OURS;
        }
    }

    /// What grows with the cycles.
    pub(crate) fn leaks(&self, cycles: usize) -> Vec<String> {
        let most = (cycles / 2).max(1);
        let leaks = self.places.iter().filter(|(_, (count, references, _))| {
            *count >= most || usize::try_from(*references).is_ok_and(|references| references >= most)
        });
        leaks
            .map(|(place, (count, references, ours))| {
                format!("{place}: {count} objects, {references} references to one, {ours} of them touched by the module")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(cycles: usize, cycle: &str) -> Left {
        let log: String = (0..cycles)
            .map(|number| cycle.replace("OBJECT", &format!("0x{:x}", 4096 + number)))
            .collect();
        Left::read(log.as_bytes(), 0).unwrap()
    }

    #[test]
    fn what_is_freed_is_no_leak() {
        let left = left(
            100,
            "OBJECT,+1,1,bridge.c,10,make,**constructor**1**2**,\nOBJECT,+1,1,src/ast/shim.c,5,look,1,\n\
             OBJECT,-1,1,src/ast/shim.c,6,look,2,\nOBJECT,-1,1,bridge.c,11,end,**destructor**lock-state:unlocked**,\n",
        );
        assert_eq!(
            (left.lines, left.places.len(), left.leaks(100).len()),
            (400, 0, 0)
        );
    }

    #[test]
    fn an_object_left_in_each_cycle_is_a_leak() {
        let left = left(
            100,
            "OBJECT,+1,1,bridge.c,10,make,**constructor**1**2**,\nOBJECT,+1,1,src/ast/shim.c,5,look,1,\n\
             OBJECT,-1,1,bridge.c,11,end,2,\n",
        );
        assert_eq!(
            left.leaks(100),
            ["bridge.c:10: 100 objects, 1 references to one, 100 of them touched by the module"]
        );
        assert_eq!(left.leaks(1_000), Vec::<String>::new());
    }

    #[test]
    fn a_reference_left_in_each_cycle_is_a_leak() {
        let mut log = "0x10,+1,1,format.c,10,make,**constructor**1**2**,\n".to_owned();
        log.push_str(&"0x10,+1,1,src/ast/shim.c,5,look,1,\n".repeat(100));
        assert_eq!(Left::read(log.as_bytes(), 0).unwrap().leaks(100).len(), 1);
    }

    #[test]
    fn what_asterisk_leaves_of_its_start_is_none() {
        let own = "0x10,+1,1,xmldoc.c,10,make,**constructor**1**2**,\n".to_owned();
        let early: String = (0..200)
            .map(|number| own.replace("0x10", &format!("0x{:x}", 16 + number)))
            .collect();
        let read = |log: &str, begin: usize| Left::read(log.as_bytes(), begin as u64).unwrap().leaks(100);
        assert_eq!(read(&early, early.len()), Vec::<String>::new());
        assert_eq!(read(&early, 0).len(), 1);
        // New references to one of them are another matter.
        let kept = early.clone() + &"0x10,+1,1,src/ast/shim.c,5,look,1,\n".repeat(100);
        assert_eq!(
            read(&kept, early.len()),
            ["xmldoc.c:10: 0 objects, 100 references to one, 1 of them touched by the module"]
        );
        // A line that comes too late.
        let late = "OBJECT,-1,1,bridge.c,11,end,**destructor**lock-state:unlocked**,\nOBJECT,-1,2,bridge.c,12,end,2,\n";
        assert_eq!(left(200, late).leaks(100), Vec::<String>::new());
    }

    #[test]
    fn what_is_used_after_its_end_is_named() {
        let line = "0x10,-1,1,src/ast/shim.c,5,look,**invalid**,\n";
        assert_eq!(Left::read(line.as_bytes(), 0).unwrap().invalid.len(), 1);
    }
}
