//! Ports and ranges of ports, compiled for looking one up.

/// Ports and ranges of ports, sorted, without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortList(Vec<(u16, u16)>);

impl PortList {
    /// Each pair is the first and the last port of a range; reversed pairs hold nothing.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= port);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, last)| port <= *last)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists() {
        let list = PortList::new([(80, 80), (443, 443), (8000, 8100), (8050, 8200), (8201, 8201), (9, 3)]);
        assert_eq!(list.0, [(80, 80), (443, 443), (8000, 8201)]);
        for (port, held) in
            [(79, false), (80, true), (81, false), (8150, true), (8201, true), (8202, false), (5, false)]
        {
            assert_eq!(list.contains(port), held, "{port}");
        }
        assert!(PortList::new([(1, 65535)]).contains(65535));
        assert!(!PortList::default().contains(80));
    }
}
