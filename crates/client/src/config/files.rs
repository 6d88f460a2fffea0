//! Files of the client beside its store: notices, and where earlier versions kept things.

use std::path::PathBuf;

use culvert_protocol::json_position::{Step, near_name};
use serde_json::Value;

use super::OldPaths;
use super::problem::Fault;
use super::read::Fields;
use crate::notice::NoticeFileLimits;

const USE_NOTICE_FILES: &str = "UseNoticeFiles";
const SIZE: &str = "RotatingFileSize";
const SYNC_FREQUENCY: &str = "RotatingSyncFrequency";

/// Set at all, even empty, the object asks for files.
pub(super) fn notice_files(fields: &mut Fields<'_>) -> Option<NoticeFileLimits> {
    let object = fields.value(USE_NOTICE_FILES)?.as_object()?.clone();
    let mut limits = NoticeFileLimits::default();
    for (name, value) in &object {
        let inside = [Step::from(name.as_str())];
        let known = [SIZE, SYNC_FREQUENCY].into_iter().find(|known| known.eq_ignore_ascii_case(name));
        let number = value.as_i64();
        // As in the reference, what is not above 0 is the default.
        let given = number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        match (known, number.is_some() || value.is_null()) {
            (None, _) => {
                let expected = match near_name(name, [SIZE, SYNC_FREQUENCY]) {
                    Some(SIZE) => "RotatingFileSize: this name is not known",
                    Some(_) => "RotatingSyncFrequency: this name is not known",
                    None => "RotatingFileSize or RotatingSyncFrequency: this name is not known",
                };
                fields.fault_at(USE_NOTICE_FILES, &inside, Fault::Invalid { expected });
            }
            (_, false) => {
                let fault = Fault::Invalid { expected: "a whole number" };
                fields.fault_at(USE_NOTICE_FILES, &inside, fault);
            }
            (Some(SIZE), _) => limits.size = given.unwrap_or(limits.size),
            (Some(_), _) => {
                let every = given.and_then(|number| u32::try_from(number).ok());
                limits.sync_every = every.unwrap_or(limits.sync_every);
            }
        }
    }
    Some(limits)
}

/// The older name of a key says the same, where the newer is not set.
pub(super) fn old_paths(fields: &Fields<'_>) -> OldPaths {
    let path = |names: &[&'static str]| -> Option<PathBuf> {
        names
            .iter()
            .find_map(|name| fields.value(name).and_then(Value::as_str).filter(|text| !text.is_empty()))
            .map(PathBuf::from)
    };
    OldPaths {
        homepage: path(&["MigrateHomepageNoticesFilename"]),
        notices: path(&["MigrateRotatingNoticesFilename"]),
        data_store_folder: path(&["MigrateDataStoreDirectory", "DataStoreDirectory"]),
        server_list: path(&["MigrateRemoteServerListDownloadFilename", "RemoteServerListDownloadFilename"]),
        obfuscated_server_list_folder: path(&[
            "MigrateObfuscatedServerListDownloadDirectory",
            "ObfuscatedServerListDownloadDirectory",
        ]),
        upgrade: path(&["MigrateUpgradeDownloadFilename", "UpgradeDownloadFilename"]),
    }
}
