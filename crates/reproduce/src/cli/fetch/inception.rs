//! The weights of the Inception network.

use std::path::{Path, PathBuf};

use chains_core::{
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE, read_config},
    hub::{ModelId, fetch_model},
};
use eval_metrics::networks::{
    INCEPTION_FILES, INCEPTION_METHOD, InceptionConfig, InceptionSource, import_inception,
};

use super::{
    super::models::{hub_options, input},
    Args, Files, files_of,
};
use crate::{
    error::{Error, Result},
    inception::folder,
};

/// Converts or copies the weights to their folder, which it gives.
pub(super) fn fetch(args: &Args, root: &Path) -> Result<PathBuf> {
    let to = args.to.as_ref().map_or_else(|| folder(root), |to| to.join(crate::inception::NAME));
    match &args.from {
        None if to.join(CONFIG_FILE).is_file() && to.join(WEIGHTS_FILE).is_file() => {}
        None => {
            return Err(Error::Usage(format!(
                "inception: the weights are not downloaded for you; get {} and run `cargo xtask \
                 fetch inception --from FILE`",
                INCEPTION_FILES.join(" or ")
            )));
        }
        Some(from) if Path::new(from).exists() => {
            import_inception(Path::new(from), &to, args.unverified).map_err(input)?;
        }
        Some(from) => {
            let id: ModelId = from.parse().map_err(|_| {
                Error::Usage(format!("--from {from}: no such file, and not owner/name[@revision]"))
            })?;
            let dir = fetch_model(&id, &hub_options(args.offline))?;
            let config: InceptionConfig = read_config(&dir, INCEPTION_METHOD).map_err(input)?;
            let source = InceptionSource { sha256: config.source_sha256 };
            if !args.unverified && !source.is_verified() {
                let reason = "these are not the published weights; give --unverified to use them";
                return Err(Error::format(dir.join(CONFIG_FILE), reason));
            }
            let files = Files {
                files: files_of(&dir)?,
                at: dir,
                folder: crate::inception::NAME.to_owned(),
            };
            files.copy(&to)?;
        }
    }
    Ok(to)
}
