//! Equations of motion.

use std::f64::consts::PI;

/// `(x, y, th, p2, p3)` or anything dual to it.
pub type Coordinates = [f64; 5];

/// Links.
pub(super) const LINKS: usize = 3;
/// Mass of a link, kg: a capsule of radius 0.1 around a cylinder of length 1, density 1000.
pub(super) const MASS: f64 = 35.604_716_740_684_324;
/// Half the length of a link's cylinder, m.
pub(super) const HALF: f64 = 0.5;
/// Moment of inertia of a link across its axis, kg m^2.
const INERTIA: f64 = 3.917_566_039_026_472_6;
/// Sides of the box with a link's inertia, m.
const LONG: f64 = 1.136_247_694_620_064_8;
const SHORT: f64 = 0.171_155_244_287_339_41;
/// Where a joint's stop begins, 100 degrees.
const STOP: f64 = 100.0 / 180.0 * PI;
/// Stiffness and damping of a stop, N m/rad and N m s/rad.
const SPRING: f64 = 2_000.0;
const DAMPING: f64 = 40.0;

/// Centre of mass of a link: the root plus these multiples of the links' directions.
const CENTRES: [[f64; LINKS]; LINKS] = [[1.0, 0.0, 0.0], [0.5, -0.5, 0.0], [0.5, -1.0, -0.5]];

/// The fluid that drags at the links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwimmerFluid {
    /// kg/m^3.
    pub density: f64,
    /// Pa s.
    pub viscosity: f64,
}

impl SwimmerFluid {
    /// rllab's swimmer: density 4000, viscosity 0.1.
    pub const fn published() -> Self {
        Self { density: 4_000.0, viscosity: 0.1 }
    }

    /// Forces along and across a link and the torque on it, from its velocities in its own frame
    /// (MuJoCo's drag on the equivalent box: Stokes and quadratic terms).
    fn drag(&self, along: f64, across: f64, spin: f64) -> [f64; 3] {
        let diameter = (LONG + 2.0 * SHORT) / 3.0;
        let Self { density, viscosity } = *self;
        let stokes = -3.0 * PI * diameter * viscosity;
        [
            stokes * along - 0.5 * density * SHORT * SHORT * along.abs() * along,
            stokes * across - 0.5 * density * LONG * SHORT * across.abs() * across,
            -PI * diameter.powi(3) * viscosity * spin
                - density * SHORT * (LONG.powi(4) + SHORT.powi(4)) / 64.0 * spin.abs() * spin,
        ]
    }
}

/// Directions along and across the links, `(cos, sin)` and `(-sin, cos)` of their angles.
pub(super) fn frames(q: &Coordinates) -> [[[f64; 2]; LINKS]; 2] {
    let angles = [q[2], q[2] + q[3], q[2] + q[3] + q[4]];
    let along = angles.map(|angle| [angle.cos(), angle.sin()]);
    [along, along.map(|[c, s]| [-s, c])]
}

/// Rates of the links' angles.
fn spins(v: &Coordinates) -> [f64; LINKS] {
    [v[2], v[2] + v[3], v[2] + v[3] + v[4]]
}

/// The root plus multiples of directions, for each link.
fn placed(root: [f64; 2], directions: &[[f64; 2]; LINKS]) -> [[f64; 2]; LINKS] {
    CENTRES.map(|multiples| {
        let mut at = root;
        for (c, direction) in multiples.iter().zip(directions) {
            at[0] += c * direction[0];
            at[1] += c * direction[1];
        }
        at
    })
}

/// Centres of mass of the links.
pub(super) fn centres(q: &Coordinates) -> [[f64; 2]; LINKS] {
    placed([q[0], q[1]], &frames(q)[0])
}

/// Their velocities, from the directions across the links.
fn velocities(v: &Coordinates, across: &[[f64; 2]; LINKS]) -> [[f64; 2]; LINKS] {
    let spins = spins(v);
    let turned = std::array::from_fn(|k| across[k].map(|n| spins[k] * n));
    placed([v[0], v[1]], &turned)
}

/// Linear momentum.
pub(super) fn momentum(q: &Coordinates, v: &Coordinates) -> [f64; 2] {
    let all = velocities(v, &frames(q)[1]);
    [0, 1].map(|axis| MASS * all.iter().map(|velocity| velocity[axis]).sum::<f64>())
}

/// Derivatives of a link's centre in the coordinates, one for each.
fn jacobian(link: usize, across: &[[f64; 2]; LINKS]) -> [[f64; 2]; 5] {
    let mut columns = [[0.0; 2]; 5];
    (columns[0], columns[1]) = ([1.0, 0.0], [0.0, 1.0]);
    // An angle turns the links from its own on.
    for (from, column) in columns[2..].iter_mut().enumerate() {
        for k in from..LINKS {
            column[0] += CENTRES[link][k] * across[k][0];
            column[1] += CENTRES[link][k] * across[k][1];
        }
    }
    columns
}

/// Does coordinate `i` turn the link?
fn turns(link: usize, i: usize) -> bool {
    (2..=link + 2).contains(&i)
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// `sum_i m J_i^T J_i + I A_i^T A_i`.
pub(super) fn mass_matrix(q: &Coordinates) -> [Coordinates; 5] {
    let across = frames(q)[1];
    let mut mass = [[0.0; 5]; 5];
    for link in 0..LINKS {
        add_mass(&mut mass, link, &jacobian(link, &across));
    }
    mass
}

fn add_mass(mass: &mut [Coordinates; 5], link: usize, columns: &[[f64; 2]; 5]) {
    for i in 0..5 {
        for j in 0..5 {
            mass[i][j] += MASS * dot(columns[i], columns[j]);
            if turns(link, i) && turns(link, j) {
                mass[i][j] += INERTIA;
            }
        }
    }
}

/// The torque of a joint's stop.
fn stop(angle: f64, rate: f64) -> f64 {
    let beyond = angle.abs() - STOP;
    if beyond <= 0.0 {
        return 0.0;
    }
    // Damped on the way out only.
    let side = angle.signum();
    -side * (SPRING * beyond + DAMPING * (side * rate).max(0.0))
}

/// `M^-1 (forces - bias)`.
pub(super) fn acceleration(
    q: &Coordinates,
    v: &Coordinates,
    torques: [f64; 2],
    fluid: Option<&SwimmerFluid>,
) -> Coordinates {
    let ([along, across], spins) = (frames(q), spins(v));
    let velocities = velocities(v, &across);
    // A link's centre turns around the root: its centripetal acceleration.
    let inward: [[f64; 2]; LINKS] =
        std::array::from_fn(|k| along[k].map(|u| -spins[k] * spins[k] * u));
    let inward = placed([0.0; 2], &inward);
    let mut mass = [[0.0; 5]; 5];
    let mut forces = [0.0, 0.0, 0.0, torques[0] + stop(q[3], v[3]), torques[1] + stop(q[4], v[4])];
    for link in 0..LINKS {
        let columns = jacobian(link, &across);
        add_mass(&mut mass, link, &columns);
        let mut force = inward[link].map(|a| -MASS * a);
        let mut torque = 0.0;
        if let Some(fluid) = fluid {
            let [u, n] = [along[link], across[link]];
            let velocity = velocities[link];
            let [parallel, normal, turning] =
                fluid.drag(dot(velocity, u), dot(velocity, n), spins[link]);
            force[0] += parallel * u[0] + normal * n[0];
            force[1] += parallel * u[1] + normal * n[1];
            torque = turning;
        }
        for (i, (total, column)) in forces.iter_mut().zip(columns).enumerate() {
            *total += dot(column, force);
            if turns(link, i) {
                *total += torque;
            }
        }
    }
    solve(mass, forces)
}

/// `M^-1 f` of a positive definite matrix by its Cholesky factor.
fn solve(mut m: [Coordinates; 5], f: Coordinates) -> Coordinates {
    for j in 0..5 {
        for i in j..5 {
            let inner: f64 = (0..j).map(|k| m[i][k] * m[j][k]).sum();
            let rest = m[i][j] - inner;
            m[i][j] = if i == j { rest.sqrt() } else { rest / m[j][j] };
        }
    }
    let mut x = f;
    for i in 0..5 {
        let inner: f64 = (0..i).map(|k| m[i][k] * x[k]).sum();
        x[i] = (x[i] - inner) / m[i][i];
    }
    for i in (0..5).rev() {
        let inner: f64 = (i + 1..5).map(|k| m[k][i] * x[k]).sum();
        x[i] = (x[i] - inner) / m[i][i];
    }
    x
}
