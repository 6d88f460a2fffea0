//! What the reference's parser makes of concatenations and alternations: literals joined, common beginnings
//! factored out, single characters merged into classes. Each changes how many draws a text takes.
//! Source: `PROTOCOL.md` 2.5.

use super::class::{CharSet, other_case};
use super::{Node, Repeat};

/// A sequence: neighbouring literals become one.
pub(super) fn concat(parts: Vec<Node>) -> Node {
    let mut joined: Vec<Node> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Node::Literal { text, fold }), Node::Literal { text: more, fold: as_well })
                if *fold == as_well =>
            {
                text.extend(more);
            }
            (_, part) => joined.push(part),
        }
    }
    collapse(joined, Node::Concat, Node::Empty)
}

/// The branches of an alternation, as they were written.
pub(super) fn alternate(written: Vec<Node>) -> Node {
    let mut branches: Vec<Node> = Vec::with_capacity(written.len());
    for branch in written {
        match branches.last_mut() {
            Some(last) if is_single(last) && is_single(&branch) => *last = merge(last, &branch),
            _ => branches.push(branch),
        }
    }
    let branches: Vec<Node> = branches.into_iter().map(clean).collect();
    if branches.len() < 2 {
        return collapse(branches, Node::Alternate, Node::Empty);
    }
    collapse(factor(branches), Node::Alternate, Node::Empty)
}

fn collapse(mut nodes: Vec<Node>, many: fn(Vec<Node>) -> Node, none: Node) -> Node {
    match (nodes.len(), nodes.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            nodes.push(last);
            many(nodes)
        }
        (_, None) => none,
    }
}

fn factor(branches: Vec<Node>) -> Vec<Node> {
    let branches = factor_runs(branches, common_text, |shared, rest| {
        let (text, fold) = shared;
        let rest = rest.into_iter().map(|branch| without_text(branch, text.len())).collect();
        (Node::Literal { text, fold }, rest)
    });
    let branches =
        factor_runs(branches, common_head, |head, rest| (head, rest.into_iter().map(without_head).collect()));
    let branches = merge_singles(branches);
    let mut out: Vec<Node> = Vec::with_capacity(branches.len());
    for branch in branches {
        if branch != Node::Empty || out.last() != Some(&Node::Empty) {
            out.push(branch);
        }
    }
    out
}

/// Replaces each run of branches that share something by that and an alternation of their rests. `share` narrows
/// what the run shares by one more branch; with `None` it tells what that branch alone could share.
fn factor_runs<S>(
    branches: Vec<Node>,
    share: fn(Option<&S>, &Node) -> Option<S>,
    split: fn(S, Vec<Node>) -> (Node, Vec<Node>),
) -> Vec<Node> {
    let mut out = Vec::with_capacity(branches.len());
    let mut run: Vec<Node> = Vec::new();
    let mut shared: Option<S> = None;
    let mut end_run = |run: &mut Vec<Node>, shared: Option<S>| match (run.len(), shared) {
        (2.., Some(shared)) => {
            let (head, rest) = split(shared, std::mem::take(run));
            let rest = collapse(factor(flatten(rest)), Node::Alternate, Node::Empty);
            out.push(Node::Concat(vec![head, rest]));
        }
        _ => out.append(run),
    };
    for branch in branches {
        let narrowed =
            if run.is_empty() { None } else { shared.as_ref().and_then(|s| share(Some(s), &branch)) };
        match narrowed {
            Some(narrowed) => shared = Some(narrowed),
            None => {
                end_run(&mut run, shared.take());
                shared = share(None, &branch);
            }
        }
        run.push(branch);
    }
    end_run(&mut run, shared);
    out
}

fn flatten(branches: Vec<Node>) -> Vec<Node> {
    let mut out = Vec::with_capacity(branches.len());
    for branch in branches {
        match branch {
            Node::Alternate(inner) => out.extend(inner),
            other => out.push(other),
        }
    }
    out
}

type Text = (Vec<u32>, bool);

fn common_text(shared: Option<&Text>, branch: &Node) -> Option<Text> {
    let head = match branch {
        Node::Concat(parts) => parts.first()?,
        other => other,
    };
    let Node::Literal { text, fold } = head else { return None };
    let Some((known, known_fold)) = shared else { return Some((text.clone(), *fold)) };
    let same = known.iter().zip(text).take_while(|(a, b)| a == b).count();
    (known_fold == fold && same > 0).then(|| (known.iter().take(same).copied().collect(), *fold))
}

fn without_text(branch: Node, len: usize) -> Node {
    match branch {
        Node::Literal { text, .. } if text.len() <= len => Node::Empty,
        Node::Literal { text, fold } => Node::Literal { text: text.into_iter().skip(len).collect(), fold },
        Node::Concat(mut parts) => {
            if let Some(head) = parts.first_mut() {
                *head = without_text(std::mem::replace(head, Node::Empty), len);
                if *head == Node::Empty {
                    parts.remove(0);
                }
            }
            collapse(parts, Node::Concat, Node::Empty)
        }
        other => other,
    }
}

fn common_head(shared: Option<&Node>, branch: &Node) -> Option<Node> {
    let head = match branch {
        Node::Concat(parts) => parts.first()?,
        other => other,
    };
    if *head == Node::Empty {
        return None;
    }
    match shared {
        None => Some(head.clone()),
        Some(known) => (known == head && is_factorable(known)).then(|| known.clone()),
    }
}

/// Only single characters, and a fixed number of them, are factored out.
fn is_factorable(node: &Node) -> bool {
    match node {
        Node::Repeat(inner, Repeat::Bounds { min, max: Some(max) }) => min == max && is_single(inner),
        other => is_single(other),
    }
}

fn without_head(branch: Node) -> Node {
    match branch {
        Node::Concat(mut parts) if !parts.is_empty() => {
            parts.remove(0);
            collapse(parts, Node::Concat, Node::Empty)
        }
        _ => Node::Empty,
    }
}

fn merge_singles(branches: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(branches.len());
    for branch in branches {
        match out.last_mut() {
            Some(last) if is_single(last) && is_single(&branch) => *last = merge(last, &branch),
            _ => out.push(branch),
        }
    }
    out.into_iter().map(clean).collect()
}

/// Whether the node is one character, of whatever choice.
fn is_single(node: &Node) -> bool {
    match node {
        Node::Literal { text, .. } => text.len() == 1,
        Node::Class(_) | Node::Any | Node::AnyButNewline => true,
        _ => false,
    }
}

/// Either of two single characters.
fn merge(a: &Node, b: &Node) -> Node {
    match (a, b) {
        (Node::Any, _) | (_, Node::Any) => Node::Any,
        (Node::AnyButNewline, other) | (other, Node::AnyButNewline) => {
            let newline = *other != Node::AnyButNewline && has_newline(other);
            if newline { Node::Any } else { Node::AnyButNewline }
        }
        _ if a == b && matches!(a, Node::Literal { .. }) => a.clone(),
        _ => Node::Class(as_set(a).union(&as_set(b))),
    }
}

/// A fold literal counts as the one letter it holds here: it is asked for its newline only.
fn has_newline(node: &Node) -> bool {
    as_set(node).contains_newline()
}

fn as_set(node: &Node) -> CharSet {
    match node {
        Node::Class(set) => set.clone(),
        Node::Literal { text, fold } => {
            let other = |c: &u32| if *fold { other_case(*c) } else { None };
            CharSet::new(text.iter().flat_map(|c| [Some(*c), other(c)]).flatten().map(|c| (c, c)))
        }
        _ => CharSet::default(),
    }
}

/// A class of everything is the any-character.
fn clean(node: Node) -> Node {
    match node {
        Node::Class(set) if set.is_everything() => Node::Any,
        Node::Class(set) if set.is_everything_but_newline() => Node::AnyButNewline,
        other => other,
    }
}
