use std::time::Duration;

use reqwest::header::HeaderMap;

/// How many requests a registry still allows, as it told with its last answer
/// (`RateLimit-Limit: 100;w=21600`, `RateLimit-Remaining: 76;w=21600`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    limit: Option<u64>,
    remaining: u64,
    window: Option<Duration>,
}

impl RateLimit {
    /// Requests that are allowed in each window.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Requests that are left of them.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Length of the window.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let read = |name: &str| {
            let field = headers.get(name)?.to_str().ok()?;
            let (count, rest) = field.split_once(';').unwrap_or((field, ""));
            let window = rest.split(';').find_map(|parameter| {
                let seconds = parameter.trim().strip_prefix("w=")?;
                seconds.parse().ok().map(Duration::from_secs)
            });
            Some((count.trim().parse::<u64>().ok()?, window))
        };
        let (remaining, window) = read("ratelimit-remaining")?;
        let limit = read("ratelimit-limit");
        Some(Self {
            limit: limit.map(|(limit, _)| limit),
            remaining,
            window: window.or(limit.and_then(|(_, window)| window)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_hub_writes_them() {
        let check = |limit: &'static str, remaining: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-limit", limit.parse().unwrap());
            headers.insert("ratelimit-remaining", remaining.parse().unwrap());
            RateLimit::of(&headers).map(|found| (found.limit, found.remaining, found.window))
        };
        let six_hours = Some(Duration::from_secs(21_600));
        assert_eq!(
            check("100;w=21600", "76;w=21600"),
            Some((Some(100), 76, six_hours))
        );
        assert_eq!(check("100;w=21600", "76"), Some((Some(100), 76, six_hours)));
        assert_eq!(check("many", "0"), Some((None, 0, None)));
        assert_eq!(check("1", "-1"), None);
        assert_eq!(RateLimit::of(&HeaderMap::new()), None);
    }
}
