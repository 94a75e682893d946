//! How many more and how many fewer pods than desired there may be while a deployment rolls. Pure, decides.

use k8s_openapi::api::apps::v1::{DeploymentSpec, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub desired: i32,
    /// How many more than desired. 0 for Recreate.
    pub surge: i32,
    /// How many fewer than desired may be available. 0 for Recreate.
    pub unavailable: i32,
    pub recreate: bool,
}

impl Limits {
    /// Percentages of the surge round up, those of the unavailable down. If that leaves no room at all, one pod
    /// may be unavailable, or nothing would ever move.
    pub fn of(spec: &DeploymentSpec) -> Limits {
        let desired = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Limits { desired, surge: 0, unavailable: 0, recreate: true };
        }
        let quarter = || RollingUpdateDeployment {
            max_surge: Some(IntOrString::String("25%".into())),
            max_unavailable: Some(IntOrString::String("25%".into())),
        };
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_else(quarter);
        let surge = rolling.max_surge.as_ref().map_or(0, |given| resolve(given, desired, 99));
        let unavailable = rolling.max_unavailable.as_ref().map_or(0, |given| resolve(given, desired, 0));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Limits { desired, surge, unavailable: unavailable.min(desired), recreate: false }
    }

    /// How many pods there may be in all.
    pub fn max(&self) -> i32 {
        self.desired.saturating_add(self.surge)
    }

    /// How many pods must stay available.
    pub fn min_available(&self) -> i32 {
        self.desired - self.unavailable
    }
}

/// `rounding` is added before hundredths are cut off.
fn resolve(given: &IntOrString, of: i32, rounding: i64) -> i32 {
    let number = match given {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i32>().ok()).unwrap_or(0);
            (i64::from(percent) * i64::from(of) + rounding) / 100
        }
    };
    number.clamp(0, i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(replicas: i32, surge: &str, unavailable: &str) -> (i32, i32) {
        let value = |text: &str| text.parse().map_or_else(|_| IntOrString::String(text.into()), IntOrString::Int);
        let rolling_update =
            RollingUpdateDeployment { max_surge: Some(value(surge)), max_unavailable: Some(value(unavailable)) };
        let strategy = k8s_openapi::api::apps::v1::DeploymentStrategy {
            rolling_update: Some(rolling_update),
            type_: Some("RollingUpdate".into()),
        };
        let spec = DeploymentSpec { replicas: Some(replicas), strategy: Some(strategy), ..DeploymentSpec::default() };
        let limits = Limits::of(&spec);
        (limits.surge, limits.unavailable)
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        assert_eq!(limits(10, "25%", "25%"), (3, 2));
        assert_eq!(limits(4, "25%", "25%"), (1, 1));
        assert_eq!(limits(3, "25%", "25%"), (1, 0));
        assert_eq!(limits(1, "1%", "99%"), (1, 0));
        assert_eq!(limits(5, "100%", "100%"), (5, 5));
    }

    #[test]
    fn something_always_may_move() {
        assert_eq!(limits(3, "0", "25%"), (0, 1));
        assert_eq!(limits(3, "0", "0"), (0, 1));
        assert_eq!(limits(3, "nonsense", "-4"), (0, 1));
        assert_eq!(limits(0, "0", "0"), (0, 0));
        assert_eq!(limits(2, "1", "7"), (1, 2));
    }
}
