//! A swimmer of three links in a viscous plane, the control task of the paper's appendix J.3.
//!
//! The body is that of rllab's `swimmer`: three equal capsules of radius 0.1 around cylinders of length 1 and
//! density 1000, two motors at the joints, drag of MuJoCo's model of an equivalent box in a fluid of density
//! 4000 and viscosity 0.1, no gravity, no contacts. Joints have stops at 100 degrees: one-sided springs, since
//! MuJoCo's soft stops are not published as a formula. Everything is f64 and deterministic.

mod dynamics;

use candle_core::{DType, Device};
use chains_core::{Error, Noise, Result};

pub use self::dynamics::{Coordinates, SwimmerFluid};
use self::dynamics::{HALF, LINKS};

/// Largest torque of a motor, N m.
pub const TORQUE: f64 = 50.0;
/// Length of an integration step, s.
const STEP: f64 = 0.001;
/// Integration steps that an action lasts for, so that it lasts 0.05 s.
const SUBSTEPS: usize = 50;
/// Standard deviations of positions and velocities after a reset.
const RESET: [f64; 2] = [0.01, 0.1];
/// The price of a squared action.
const PRICE: f64 = 0.5 * 0.01;

/// The swimmer's state.
///
/// Coordinates are `(x, y, th, p2, p3)`: the root point in m, the angle of the first link and the angles of
/// the joints in rad. The root lies half a link behind the first link's tail, so that at zero it is the centre
/// of mass.
///
/// ```
/// use variational_annealing::swimmer::Swimmer;
///
/// let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
/// let mut sum = 0.0;
/// for i in 0..200 {
///     let phase = std::f64::consts::TAU * (0.05 * f64::from(i) / 2.5);
///     let action = [phase.sin(), (phase - std::f64::consts::FRAC_PI_3).sin()];
///     sum += swimmer.step(action)?;
/// }
/// assert!((sum - 13.22).abs() < 0.02);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swimmer {
    position: Coordinates,
    velocity: Coordinates,
    fluid: Option<SwimmerFluid>,
    steps: usize,
}

impl Swimmer {
    /// A swimmer in its fluid with those coordinates and velocities.
    pub fn at(position: Coordinates, velocity: Coordinates) -> Self {
        Self { position, velocity, fluid: Some(SwimmerFluid::published()), steps: 0 }
    }

    /// A swimmer near rest: positions of deviation 0.01, velocities of 0.1.
    ///
    /// # Errors
    /// Of the noise.
    pub fn reset(noise: &mut dyn Noise) -> Result<Self> {
        let mut draw = |deviation: f64| -> Result<Coordinates> {
            let drawn: Vec<f64> = noise.normal(&5.into(), DType::F64, &Device::Cpu)?.to_vec1()?;
            Ok(std::array::from_fn(|i| deviation * drawn[i]))
        };
        Ok(Self::at(draw(RESET[0])?, draw(RESET[1])?))
    }

    /// The same in another fluid, or in none.
    pub fn in_fluid(self, fluid: Option<SwimmerFluid>) -> Self {
        Self { fluid, ..self }
    }

    /// Coordinates, m and rad.
    pub fn position(&self) -> Coordinates {
        self.position
    }

    /// Their rates, m/s and rad/s.
    pub fn velocity(&self) -> Coordinates {
        self.velocity
    }

    /// Accelerations under torques of the motors in N m, m/s^2 and rad/s^2.
    pub fn acceleration(&self, torques: [f64; 2]) -> Coordinates {
        dynamics::acceleration(&self.position, &self.velocity, torques, self.fluid.as_ref())
    }

    /// Lets an action act for 0.05 s (50 semi-implicit Euler steps) and returns its reward: the velocity
    /// along x of the whole body's centre of mass at the end, minus `0.005 |a|^2`.
    ///
    /// Actions are from -1 to 1, in units of [`TORQUE`]; others are clipped.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the action or the state is no number; the state is then as before.
    pub fn step(&mut self, action: [f64; 2]) -> Result<f64> {
        let lost = |what| Err(Error::NonFinite { what, step: self.steps });
        if action.iter().any(|a| a.is_nan()) {
            return lost("action of the swimmer");
        }
        let action = action.map(|a| a.clamp(-1.0, 1.0));
        let torques = action.map(|a| TORQUE * a);
        let mut next = *self;
        for _ in 0..SUBSTEPS {
            let acceleration = next.acceleration(torques);
            let coordinates = next.position.iter_mut().zip(&mut next.velocity);
            for ((position, velocity), acceleration) in coordinates.zip(acceleration) {
                *velocity += STEP * acceleration;
                *position += STEP * *velocity;
            }
        }
        if !next.position.iter().chain(&next.velocity).all(|value| value.is_finite()) {
            return lost("state of the swimmer");
        }
        next.steps += 1;
        *self = next;
        let effort: f64 = action.iter().map(|a| a * a).sum();
        Ok(self.centre_velocity()[0] - PRICE * effort)
    }

    /// Coordinates, their rates, and the centre of mass `(x, y, 0)`: what a policy sees.
    pub fn observation(&self) -> [f64; 13] {
        let [x, y] = self.centre();
        let mut seen = [0.0; 13];
        seen[..5].copy_from_slice(&self.position);
        seen[5..10].copy_from_slice(&self.velocity);
        seen[10..].copy_from_slice(&[x, y, 0.0]);
        seen
    }

    /// The centre of mass of the whole body, m.
    pub fn centre(&self) -> [f64; 2] {
        let sum = dynamics::centres(&self.position)
            .into_iter()
            .fold([0.0; 2], |sum, c| [sum[0] + c[0], sum[1] + c[1]]);
        sum.map(|value| value / LINKS as f64)
    }

    /// Its velocity, m/s.
    pub fn centre_velocity(&self) -> [f64; 2] {
        let [x, y] = self.momentum();
        [x, y].map(|p| p / (LINKS as f64 * dynamics::MASS))
    }

    /// Linear momentum, kg m/s.
    pub fn momentum(&self) -> [f64; 2] {
        dynamics::momentum(&self.position, &self.velocity)
    }

    /// Kinetic energy, J.
    pub fn kinetic_energy(&self) -> f64 {
        let mass = dynamics::mass_matrix(&self.position);
        let rows = mass.iter().zip(&self.velocity);
        let twice: f64 = rows
            .map(|(row, v)| v * row.iter().zip(&self.velocity).map(|(m, w)| m * w).sum::<f64>())
            .sum();
        0.5 * twice
    }

    /// The ends of the links' axes, the head first, m: what there is to draw.
    pub fn links(&self) -> [[[f64; 2]; 2]; LINKS] {
        let (centres, [along, _]) =
            (dynamics::centres(&self.position), dynamics::frames(&self.position));
        std::array::from_fn(|i| {
            let end =
                |sign: f64| [0, 1].map(|axis| centres[i][axis] + sign * HALF * along[i][axis]);
            [end(1.0), end(-1.0)]
        })
    }

    /// The mass matrix of the coordinates, see [`Swimmer::acceleration`].
    pub fn mass_matrix(&self) -> [Coordinates; 5] {
        dynamics::mass_matrix(&self.position)
    }
}

#[cfg(test)]
mod tests;
