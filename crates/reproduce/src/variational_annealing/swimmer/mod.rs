//! The control task of appendix J.3: a swimmer of three links learns to swim.

mod settings;

use crate::{error::Result, registry::Experiment, run::Run};

/// Appendix J.3: soft Q-learning with policies from an unnormalised density.
pub(super) const SWIMMER: Experiment = Experiment {
    id: "swimmer",
    anchor: "Appendix J.3",
    title: "Soft Q-learning on the swimmer: U-GAN, amortised SVGD, a Gaussian",
    headline: true,
    data: "none",
    time: ["5 s", "10 min", "10 hours"],
    settings: settings::settings,
    ready: |_| Ok(()),
    run,
};

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = settings::resolve(run.request)?;
    run.paragraph(format!("Episodes of {} steps.", settings.path));
    Ok(())
}
