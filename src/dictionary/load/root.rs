//! The root: which version the file describes, and where its sections are.

use roxmltree::Node;

use super::super::Version;
use super::{Allowance, Reader, elements};

impl<'d> Reader<'d, '_> {
    pub(super) fn version(&mut self, root: Node<'d, 'd>) -> Option<Version> {
        let kind = root.attribute("type").unwrap_or("FIX");
        let mut number = |name: &str| {
            let written = root.attribute(name);
            let number = written.and_then(|written| written.trim_ascii().parse().ok());
            if number.is_none() {
                let what = written.map_or_else(|| "is missing".into(), |written| format!("{written:?} is no number"));
                self.error(root, format!("<fix>: {name} {what}"));
            }
            number
        };
        let (Some(major), Some(minor)) = (number("major"), number("minor")) else {
            return None;
        };
        let service_pack = self.service_pack(root);
        if let Some(version) = Version::of_parts(kind, major, minor, service_pack) {
            return Some(version);
        }
        let of_kind = || Version::ALL.into_iter().filter(move |version| version.parts().0 == kind);
        // In ascending order: the greatest that is not above what is written.
        let is_below = |version: &Version| {
            let (_, known_major, known_minor, known_pack) = version.parts();
            (known_major, known_minor, known_pack) <= (major, minor, service_pack)
        };
        let written = format!("{kind}.{major}.{minor} service pack {service_pack}");
        let known = || Version::ALL.map(Version::name).join(", ");
        let Some(nearest) = of_kind().rfind(is_below).or_else(|| of_kind().next()) else {
            self.error(root, format!("<fix>: {written} is no known version: the known ones are {}", known()));
            return None;
        };
        if Version::of_parts(kind, major, minor, 0).is_some() {
            self.warning(root, format!("<fix>: {written} is no known version: it is read as {nearest}"));
        } else {
            let what = format!("<fix>: {written} is no known version: {nearest} is the nearest of {}", known());
            self.error_unless(Allowance::UnknownVersions, root, what);
        }
        Some(nearest)
    }

    /// A number; `SP2` is one too. QuickFIX does not look at it.
    fn service_pack(&mut self, root: Node<'d, 'd>) -> u8 {
        let Some(written) = root.attribute("servicepack") else { return 0 };
        let number = written.trim_ascii().trim_start_matches("SP");
        number.parse().unwrap_or_else(|_| {
            self.warning(root, format!("<fix>: servicepack {written:?} is no number: it is read as 0"));
            0
        })
    }

    /// The children of the root. The first of a name counts.
    pub(super) fn sections<const N: usize>(
        &mut self,
        root: Node<'d, 'd>,
        names: [&str; N],
    ) -> [Option<Node<'d, 'd>>; N] {
        let mut sections = [None; N];
        for node in elements(root) {
            let name = node.tag_name().name();
            match names.iter().position(|known| *known == name) {
                Some(at) if sections[at].is_none() => sections[at] = Some(node),
                Some(_) => self.warning(node, format!("a second <{name}> is left out: the first counts")),
                None => self.warning(node, format!("<{name}> is unknown here and left out")),
            }
        }
        sections
    }
}
