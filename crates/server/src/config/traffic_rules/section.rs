//! One object of the file while it is read, with the way to it, so that what is found is placed.

use std::sync::Arc;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::json_position::{Step, near_name};
use serde_json::Value;

use super::super::document::{Document, Members};
use super::super::finding::Problem;
use super::super::schema::Key;
use crate::rules::{PortList, SubnetSet};

pub(super) struct Section<'d, 't, 'v> {
    document: &'d mut Document<'t>,
    members: Members<'v>,
    path: Vec<Step>,
}

impl<'d, 't, 'v> Section<'d, 't, 'v> {
    pub(super) fn root(document: &'d mut Document<'t>, members: Members<'v>) -> Self {
        Self { document, members, path: Vec::new() }
    }

    /// Reads the object that `key` is set to.
    pub(super) fn inside<T>(
        &mut self,
        key: &Key,
        read: impl FnOnce(&mut Section<'_, 't, 'v>) -> T,
    ) -> Option<T> {
        let members = self.members.members(key)?;
        Some(self.at(members, &[Step::from(key.name)], read))
    }

    /// Reads each object of the list that `key` is set to.
    pub(super) fn each<T>(
        &mut self,
        key: &Key,
        mut read: impl FnMut(&mut Section<'_, 't, 'v>) -> T,
    ) -> Vec<T> {
        let elements: Vec<_> = self.members.list(key).enumerate().collect();
        let mut all = Vec::with_capacity(elements.len());
        for (index, element) in elements {
            let step = [Step::from(key.name), Step::Index(index)];
            match element.as_object().map(Members::new) {
                Some(members) => all.push(self.at(members, &step, &mut read)),
                // What is neither was found before.
                None if element.is_null() => {
                    self.find_in(&step, Problem::WrongKind { expected: "an object", found: "null" });
                }
                None => {}
            }
        }
        all
    }

    fn at<T>(
        &mut self,
        members: Members<'v>,
        steps: &[Step],
        read: impl FnOnce(&mut Section<'_, 't, 'v>) -> T,
    ) -> T {
        let path = [self.path.as_slice(), steps].concat();
        read(&mut Section { document: self.document, members, path })
    }

    /// Records a finding about the setting.
    pub(super) fn find(&mut self, key: &Key, problem: Problem) {
        self.find_in(&[Step::from(key.name)], problem);
    }

    fn find_in(&mut self, steps: &[Step], problem: Problem) {
        self.document.find(&[self.path.as_slice(), steps].concat(), problem);
    }

    /// A number that is not negative.
    pub(super) fn count(&mut self, key: &Key) -> Option<u64> {
        let found = self.members.integer(key)?;
        if found < 0 {
            self.find(key, Problem::OutOfRange { found, least: 0, most: i64::MAX });
        }
        u64::try_from(found).ok()
    }

    pub(super) fn integer(&self, key: &Key) -> Option<i64> {
        self.members.integer(key)
    }

    /// `None` where it is not set, which is not false.
    pub(super) fn flag(&self, key: &Key) -> Option<bool> {
        self.members.value(key)?.as_bool()
    }

    pub(super) fn text(&self, key: &Key) -> Option<&'v str> {
        self.members.text(key)
    }

    pub(super) fn strings(&self, key: &Key) -> Vec<String> {
        self.members.list(key).filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Findings about single texts of a list.
    pub(super) fn remark(&mut self, key: &Key, problem: impl Fn(&str) -> Option<Problem>) {
        for (index, text) in self.strings(key).iter().enumerate() {
            if let Some(problem) = problem(text) {
                self.find_in(&[Step::from(key.name), Step::Index(index)], problem);
            }
        }
    }

    /// The lists that an object's members are; a member that is null is an empty one.
    pub(super) fn lists(&self, key: &Key) -> Option<Vec<(&'v str, Vec<&'v str>)>> {
        let object = self.members.value(key)?.as_object()?;
        let texts =
            |list: &'v Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Some(object.iter().map(|(name, list)| (name.as_str(), texts(list))).collect())
    }

    /// A finding about a member of the object that `key` is set to.
    pub(super) fn find_member(&mut self, key: &Key, member: &str, problem: Problem) {
        self.find_in(&[Step::from(key.name), Step::Key(member.to_owned())], problem);
    }

    /// `None` where no list is set, which is not an empty one. What `parse` does not take is a finding.
    fn parsed<T>(&mut self, key: &Key, parse: impl Fn(&'v Value) -> Result<T, Problem>) -> Option<Vec<T>> {
        let list = self.members.value(key)?.as_array()?;
        let mut all = Vec::with_capacity(list.len());
        for (index, element) in list.iter().enumerate() {
            match parse(element) {
                Ok(parsed) => all.push(parsed),
                Err(problem) => self.find_in(&[Step::from(key.name), Step::Index(index)], problem),
            }
        }
        Some(all)
    }

    pub(super) fn protocols(&mut self, key: &Key) -> Vec<TunnelProtocol> {
        let parse = |value: &'v Value| {
            let name = value.as_str().unwrap_or_default();
            name.parse().map_err(|_| Problem::UnknownProtocol {
                found: name.to_owned(),
                near: near_name(name, TunnelProtocol::all().map(TunnelProtocol::name)),
            })
        };
        self.parsed(key, parse).unwrap_or_default()
    }

    pub(super) fn subnets(&mut self, key: &Key) -> Option<SubnetSet> {
        let parse = |value: &'v Value| {
            let text = value.as_str().unwrap_or_default();
            text.parse().map_err(|_| Problem::NotASubnet { found: text.to_owned() })
        };
        self.parsed(key, parse).map(SubnetSet::from_iter)
    }

    pub(super) fn asns(&mut self, key: &Key) -> Option<Arc<[u32]>> {
        let mut asns = self.parsed(key, |value| asn(value.as_str().unwrap_or_default()))?;
        asns.sort_unstable();
        asns.dedup();
        Some(asns.into())
    }

    pub(super) fn ports(&mut self, key: &Key) -> Option<PortList> {
        self.parsed(key, |value| port_range(value).ok_or(Problem::NotAPortRange)).map(PortList::new)
    }
}

fn asn(text: &str) -> Result<u32, Problem> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_decimal);
    number.ok_or_else(|| Problem::NotAnAsn { found: text.to_owned() })
}

fn port_range(value: &Value) -> Option<(u16, u16)> {
    let port =
        |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    match value.as_array().map(Vec::as_slice) {
        None => port(value).map(|port| (port, port)),
        Some([first, last]) => port(first).zip(port(last)).filter(|(first, last)| first <= last),
        Some(_) => None,
    }
}
