//! Energy and generator in one parameter store, each with and without a graph.

use candle_core::{Tensor, Var};
use candle_nn::{Init, VarBuilder};
use chains_core::{Error, ParamStore, Result, config::positive, host};

use crate::{
    config::sigma_range,
    generator::{Generator, GeneratorNetwork, follow_moments},
    network::EnergyNetwork,
};

/// Name of the energy in the store.
pub const ENERGY: &str = "logp_net";
/// Name of the generator in the store.
pub const GENERATOR: &str = "g";

/// The two networks of the game, the output noise and the width of the approximate posterior.
///
/// The store holds `logp_net.*`, `g.*`, `logsigma` `(1,)`, `post_logsigma` `(d,)` and `stepsize`, a
/// scalar that only the Hamiltonian estimator uses: the names of the published checkpoints.
pub struct Players<E, G> {
    store: ParamStore,
    energy: [E; 2],
    generator: [Generator<G>; 2],
    log_eta: [Tensor; 2],
    sigma_range: [f64; 2],
}

/// What noise and posterior begin with.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// `sigma`.
    pub sigma: f64,
    /// Least and greatest `sigma`.
    pub sigma_range: [f64; 2],
    /// Standard deviations of the posterior.
    pub eta: f64,
}

impl<E: EnergyNetwork, G: GeneratorNetwork> Players<E, G> {
    /// Builds both networks twice on one store, once for training and once frozen.
    ///
    /// # Errors
    /// Of the networks; [`Error::Config`] for a beginning that is not positive, or a range of `sigma`
    /// that is none.
    pub fn new(
        store: ParamStore,
        begin: Begin,
        energy: impl Fn(VarBuilder<'static>) -> Result<E>,
        generator: impl Fn(VarBuilder<'static>) -> Result<G>,
    ) -> Result<Self> {
        positive("initial_sigma", begin.sigma)?;
        positive("initial_eta", begin.eta)?;
        sigma_range(begin.sigma_range)?;
        let [live, frozen] = [store.builder(), store.frozen()];
        let energy = [energy(live.pp(ENERGY))?, energy(frozen.pp(ENERGY))?];
        let networks = [generator(live.pp(GENERATOR))?, generator(frozen.pp(GENERATOR))?];
        let d = networks[0].latent();
        let [low, high] = begin.sigma_range;
        let sigma = Init::Const(begin.sigma.clamp(low, high).ln());
        let get = |vb: &VarBuilder<'static>| -> Result<[Tensor; 2]> {
            vb.get_with_hints((), "stepsize", Init::Const(1.0 / d as f64))?;
            let eta = vb.get_with_hints(d, "post_logsigma", Init::Const(begin.eta.ln()))?;
            Ok([vb.get_with_hints(1, "logsigma", sigma)?, eta])
        };
        let [live, frozen] = [get(&live)?, get(&frozen)?];
        let ([log_sigma, eta], [frozen_sigma, frozen_eta]) = (live, frozen);
        let [network, frozen_network] = networks;
        let generator = [
            Generator { network, log_sigma },
            Generator { network: frozen_network, log_sigma: frozen_sigma },
        ];
        let (log_eta, sigma_range) = ([eta, frozen_eta], begin.sigma_range);
        Ok(Self { store, energy, generator, log_eta, sigma_range })
    }

    /// All parameters and statistics.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The energy network, trainable.
    pub fn live_energy(&self) -> &E {
        &self.energy[0]
    }

    /// The energy network without a graph in its parameters.
    pub fn energy(&self) -> &E {
        &self.energy[1]
    }

    /// The generator, trainable.
    pub fn live_generator(&self) -> &Generator<G> {
        &self.generator[0]
    }

    /// The generator without a graph in its parameters.
    pub fn generator(&self) -> &Generator<G> {
        &self.generator[1]
    }

    /// `ln eta`, `(d,)`, trainable.
    pub fn live_log_eta(&self) -> &Tensor {
        &self.log_eta[0]
    }

    /// `ln eta`, `(d,)`, detached.
    pub fn log_eta(&self) -> &Tensor {
        &self.log_eta[1]
    }

    /// Moves the running moments of the generator towards those of a sampling pass.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn follow(&self, moments: &chains_core::nn::BatchNormMoments) -> Result<()> {
        follow_moments(&self.generator[0].network, &self.store, GENERATOR, moments)
    }

    /// Brings `sigma` back into its range.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn clamp_sigma(&self) -> Result<()> {
        let variable = self.variable("logsigma")?;
        let [low, high] = self.sigma_range.map(f64::ln);
        Ok(variable.set(&variable.as_detached_tensor().clamp(low, high)?)?)
    }

    /// The step size of the Hamiltonian estimator.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn step_size(&self) -> Result<f64> {
        host::scalar(self.variable("stepsize")?.as_tensor())
    }

    /// Stores the step size of the Hamiltonian estimator.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn set_step_size(&self, value: f64) -> Result<()> {
        let variable = self.variable("stepsize")?;
        let value = host::tensor_like(vec![value], (), &variable)?;
        Ok(variable.set(&value)?)
    }

    fn variable(&self, name: &'static str) -> Result<Var> {
        self.store.get(name).ok_or_else(|| Error::Config {
            field: "parameters",
            reason: format!("there is no `{name}`"),
        })
    }
}
