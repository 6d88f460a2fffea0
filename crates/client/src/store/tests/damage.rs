//! Damaged files, files of others, folders that cannot be written.

use super::*;

#[test]
fn a_damaged_file_is_kept_aside_and_a_new_one_begun() {
    for damage in [&b"x"[..], &[0; 4096], &[0xff; 100_000]] {
        let root = Root::new("damaged");
        put(&root.open().store, &entry(1, "CA", 0));
        fs::write(root.file(), damage).unwrap();
        let opened = root.open();
        let warnings = opened.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("was damaged"), "{warnings:?}");
        assert_eq!(fs::read(root.file().with_extension("damaged")).unwrap(), damage);
        assert!(matches!(put(&opened.store, &entry(2, "US", 0)), Stored::Added(_)));
        drop(opened);
        let again = root.open();
        assert_eq!((again.store.count(), again.warnings().len()), (1, 0));
    }
}

#[test]
fn an_empty_file_is_a_new_store() {
    let root = Root::new("empty");
    drop(root.open());
    fs::write(root.file(), b"").unwrap();
    let opened = root.open();
    assert_eq!((opened.store.count(), opened.warnings().len()), (0, 0));
}

#[test]
fn another_version_is_kept_aside() {
    let root = Root::new("version");
    root.open().store.change(engine::Lasting::Now, |transaction| {
        transaction.open_table(engine::META)?.insert("version", 99)?;
        Ok(())
    });
    let warnings = root.open().warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("another version"), "{warnings:?}");
}
