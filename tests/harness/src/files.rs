//! What lies below a folder.

use std::fs;
use std::path::Path;

/// Every file below a folder, by its path there, in order. Links are named and not followed.
#[must_use]
pub fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, root, found);
            } else if let Ok(below) = path.strip_prefix(root) {
                found.push(below.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
