//! Names for templates, and whether two are the same. Pure, decides.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the pods of one revision from those of another.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// FNV-1a (32 bits) over the template and how often that collided, its digits as letters that make no words.
pub fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut bytes = serde_json::to_vec(template).expect("templates have only string keys");
    if collisions > 0 {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let alphabet = api::object::SUFFIX_ALPHABET;
    let digits = format!("{hash:08}");
    digits.bytes().map(|digit| char::from(alphabet[usize::from(digit) % alphabet.len()])).collect()
}

/// Whether a set was made from this template: they differ in the hash label at most.
pub fn is_same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(own) = &set.spec.template else { return false };
    own.spec == template.spec && without_hash(own) == without_hash(template)
}

/// The template's labels and annotations; the rest of its metadata says nothing.
fn without_hash(template: &PodTemplateSpec) -> impl PartialEq {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.remove(POD_TEMPLATE_HASH);
    (labels, meta.annotations.unwrap_or_default(), meta.finalizers.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"a","image":"{image}"}}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn templates_have_names_that_differ_and_stay() {
        let name = hash(&template("nginx:1"), 0);
        assert_eq!(name, hash(&template("nginx:1"), 0));
        assert_ne!(name, hash(&template("nginx:2"), 0));
        assert_ne!(name, hash(&template("nginx:1"), 1));
        assert!((8..=10).contains(&name.len()), "{name}");
    }

    #[test]
    fn the_hash_label_makes_no_other_template() {
        let mut set = ReplicaSet::default();
        set.spec.template = Some(template("nginx:1"));
        let labels = set.spec.template.as_mut().unwrap().metadata.as_mut().unwrap().labels.as_mut().unwrap();
        labels.insert(POD_TEMPLATE_HASH.into(), "abc".into());
        assert!(is_same_template(&set, &template("nginx:1")));
        assert!(!is_same_template(&set, &template("nginx:2")));
    }
}
