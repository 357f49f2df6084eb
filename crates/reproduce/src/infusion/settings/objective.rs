//! The objective as one types it.

use infusion::Objective;
use serde::{Deserialize, Deserializer, de};

/// An objective as a bare name, as one types it after `--set`, or as a table.
pub(super) fn named<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Objective, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "must be denoising, denoising-per-step, lower-bound, lower-bound-detached or \
                     lower-bound-detached-weighted, or a table with one of the first four as `kind`"
    )]
    enum Either {
        Name(String),
        Table(Objective),
    }
    let name = match Either::deserialize(deserializer)? {
        Either::Table(objective) => return Ok(objective),
        Either::Name(name) => name,
    };
    match name.as_str() {
        "denoising" => Ok(Objective::Denoising),
        "denoising-per-step" => Ok(Objective::DenoisingPerStep),
        "lower-bound" => Ok(Objective::LowerBound),
        "lower-bound-detached" => Ok(Objective::LowerBoundDetached { weighted: false }),
        "lower-bound-detached-weighted" => Ok(Objective::LowerBoundDetached { weighted: true }),
        other => Err(de::Error::custom(format!(
            "`{other}` is not denoising, denoising-per-step, lower-bound, lower-bound-detached or \
             lower-bound-detached-weighted"
        ))),
    }
}
