//! All greetings in memory.
//!
//! Invariants:
//! - whoever reads takes a lock for a look into a table and never waits for a disk;
//! - whoever writes holds the desk of that operator, and there is one desk for each: it is made and thrown away under the
//!   table's lock, and thrown away only while nobody has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::notes::Notes;
use crate::core::greeting::greeting::{Greeting, Sheet};
use crate::core::greeting::operator::Operator;

/// Where changes of one operator are made, one after the other.
#[derive(Default)]
pub(super) struct Desk {
    /// What his `sheet.json` holds.
    pub(super) notes: Notes,
}

#[derive(Default)]
struct Entry {
    sheet: Arc<Sheet>,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Table {
    operators: HashMap<Operator, Entry>,
    template: Entry,
    /// For those who have nothing.
    blank: Arc<Sheet>,
}

impl Table {
    fn entry(&mut self, operator: Option<&Operator>) -> &mut Entry {
        match operator {
            None => &mut self.template,
            Some(operator) => self.operators.entry(operator.clone()).or_default(),
        }
    }

    fn throw_away(&mut self, operator: &Operator) {
        let blank = self
            .operators
            .get(operator)
            .is_some_and(|entry| *entry.sheet == *self.blank && Arc::strong_count(&entry.desk) == 1);
        if blank {
            self.operators.remove(operator);
        }
    }
}

/// The table.
#[derive(Default)]
pub(super) struct Catalogue(RwLock<Table>);

impl Catalogue {
    fn write<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<R>(&self, look: impl FnOnce(&Table) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of an operator, or of the templates.
    pub(super) fn sheet(&self, operator: Option<&Operator>) -> Arc<Sheet> {
        self.read(|table| {
            let entry = match operator {
                None => Some(&table.template),
                Some(operator) => table.operators.get(operator),
            };
            Arc::clone(entry.map_or(&table.blank, |entry| &entry.sheet))
        })
    }

    /// Whoever has something, in order.
    pub(super) fn known(&self) -> Vec<(Operator, Arc<Sheet>)> {
        let mut known: Vec<_> = self.read(|table| {
            let entries = table.operators.iter();
            entries
                .map(|(operator, entry)| (operator.clone(), Arc::clone(&entry.sheet)))
                .collect()
        });
        known.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        known
    }

    /// Works at an operator's desk, alone.
    pub(super) fn at_desk<R>(&self, operator: Option<&Operator>, work: impl FnOnce(&mut Desk) -> R) -> R {
        let desk = self.write(|table| Arc::clone(&table.entry(operator).desk));
        let result = work(&mut lock(&desk));
        drop(desk);
        if let Some(operator) = operator {
            self.write(|table| table.throw_away(operator));
        }
        result
    }

    /// Changes what is known. The change has to be made on the disk first.
    pub(super) fn alter(&self, operator: Option<&Operator>, change: impl FnOnce(&mut Sheet)) -> Arc<Sheet> {
        self.write(|table| {
            let entry = table.entry(operator);
            change(Arc::make_mut(&mut entry.sheet));
            Arc::clone(&entry.sheet)
        })
    }

    /// Begins a recording for an operator; false while there is another.
    pub(super) fn lock(&self, operator: &Operator) -> bool {
        self.write(|table| {
            let entry = table.entry(Some(operator));
            let free = !entry.sheet.locked;
            if free {
                Arc::make_mut(&mut entry.sheet).locked = true;
            }
            free
        })
    }

    /// Ends it.
    pub(super) fn unlock(&self, operator: &Operator) {
        self.write(|table| {
            if let Some(entry) = table.operators.get_mut(operator) {
                Arc::make_mut(&mut entry.sheet).locked = false;
                table.throw_away(operator);
            }
        });
    }

    /// Counts.
    pub(super) fn played(&self, operator: Option<&Operator>, played: &Greeting) {
        self.write(|table| {
            let entry = match operator {
                None => Some(&mut table.template),
                Some(operator) => table.operators.get_mut(operator),
            };
            let Some(entry) = entry else {
                return;
            };
            let sheet = Arc::make_mut(&mut entry.sheet);
            let greeting = sheet
                .greetings
                .iter_mut()
                .find(|greeting| greeting.kind == played.kind && greeting.language == played.language);
            if let Some(greeting) = greeting {
                greeting.plays = greeting.plays.saturating_add(1);
            }
        });
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Catalogue;
    use crate::core::greeting::operator::Operator;
    use crate::core::pattern::Patterns;

    fn operator() -> Operator {
        Operator::parse(b"101", &Patterns::parse("_XXX").unwrap()).unwrap()
    }

    /// Those who have nothing are thrown away and made again all the time here, and must not come to have two desks.
    #[test]
    fn at_a_desk_is_one_at_a_time() {
        let catalogue = Arc::new(Catalogue::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (catalogue, inside) = (Arc::clone(&catalogue), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for _ in 0..500 {
                        catalogue.at_desk(Some(&operator()), |_| {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(catalogue.known().is_empty());
    }

    #[test]
    fn one_records_and_the_other_is_told() {
        let catalogue = Catalogue::default();
        assert!(catalogue.lock(&operator()));
        assert!(!catalogue.lock(&operator()));
        assert!(catalogue.sheet(Some(&operator())).locked);
        catalogue.at_desk(Some(&operator()), |_| {});
        assert!(!catalogue.lock(&operator()), "a change in between frees nobody");
        catalogue.unlock(&operator());
        assert!(catalogue.lock(&operator()));
        catalogue.unlock(&operator());
        assert!(catalogue.known().is_empty());
    }
}
