//! Where features come from, and whether those of the two sides may be compared.

use datasets::arrays::ExtractorNote;
use eval_metrics::networks::FeatureExtractor;

use super::{
    extractors::Features,
    input::{Data, Input},
};
use crate::error::{Error, Result};

/// The features that were asked for, or that fit the data.
///
/// # Errors
/// [`Error::Usage`] for sides of different kinds and for a network where there are no images.
pub(super) fn features(
    asked: Option<Features>,
    sides: &[(&str, Option<&Input>)],
) -> Result<Features> {
    let inputs: Vec<&Input> = sides.iter().filter_map(|side| side.1).collect();
    let rows = inputs.iter().find(|input| matches!(input.data, Data::Rows(_)));
    let images = inputs.iter().find_map(|input| match &input.data {
        Data::Images(images) => Some((input, images)),
        _ => None,
    });
    if let (Some(rows), Some((input, _))) = (rows, images) {
        return Err(Error::Usage(format!(
            "{} holds images and {} rows of numbers, which do not compare",
            input.name, rows.name
        )));
    }
    let number = |data: &Data| match data {
        Data::Images(_) | Data::Rows(_) | Data::Statistics(_) => 0,
        Data::Scores(_) => 1,
        Data::Predictions(_) => 2,
    };
    let first = inputs.first().map_or(0, |input| number(&input.data));
    if let Some(other) = inputs.iter().find(|input| number(&input.data) != first) {
        let parts =
            [inputs[0], other].map(|input| format!("{} holds {}", input.name, input.describe()));
        return Err(Error::Usage(format!("{}, which do not compare", parts.join(", and "))));
    }
    let stored = inputs.iter().find_map(|input| stated(input)).map(|note| note.features.as_str());
    match (asked, images) {
        (Some(features @ (Features::Inception | Features::Mnist)), _) if rows.is_some() => {
            Err(Error::Usage(format!(
                "--features {}: the rows of {} are features already; use --features none, which \
                 is their default",
                features.name(),
                rows.map_or("", |rows| &rows.name)
            )))
        }
        (Some(features), _) => Ok(features),
        (None, _) if rows.is_some() => Ok(Features::None),
        (None, Some((_, images))) => Ok(stored.and_then(Features::parse).unwrap_or({
            if images.shape == [1, 28, 28] { Features::Mnist } else { Features::Inception }
        })),
        (None, None) => Ok(stored.and_then(Features::parse).unwrap_or(Features::None)),
    }
}

fn stated<'a>(input: &&'a Input) -> Option<&'a ExtractorNote> {
    match &input.data {
        Data::Statistics(statistics) => statistics.stored.extractor.as_ref(),
        _ => None,
    }
}

/// What made the features of a side; none for statistics that do not say.
pub(super) fn of(
    input: &Input,
    network: Option<&dyn FeatureExtractor>,
    features: Features,
) -> Option<ExtractorNote> {
    let note = |id: &str, preprocessing: &str| ExtractorNote {
        features: features.name().into(),
        id: id.into(),
        preprocessing: preprocessing.into(),
    };
    match (&input.data, network) {
        (Data::Statistics(statistics), _) => statistics.stored.extractor.clone(),
        (Data::Images(_), Some(network)) => Some(note(network.id(), network.preprocessing())),
        (Data::Images(_), None) => Some(note("pixels", "value / 255, by planes and rows")),
        _ => Some(note("none", "rows as they are")),
    }
}

/// Are the features of both sides those of one network?
///
/// # Errors
/// [`Error::Usage`] naming both.
pub(super) fn check(
    reference: (&Input, Option<&ExtractorNote>),
    samples: (&Input, Option<&ExtractorNote>),
) -> Result<()> {
    let (Some(real), Some(fake)) = (reference.1, samples.1) else {
        return Ok(());
    };
    if real.id != fake.id {
        return Err(Error::Usage(format!(
            "the features of {} are those of `{}`, the features of {} those of `{}`; numbers of \
             different features do not compare",
            reference.0.name, real.id, samples.0.name, fake.id
        )));
    }
    if real.preprocessing != fake.preprocessing {
        return Err(Error::Usage(format!(
            "the features of {} were made with `{}`, those of {} with `{}`; compute both alike",
            reference.0.name, real.preprocessing, samples.0.name, fake.preprocessing
        )));
    }
    Ok(())
}
