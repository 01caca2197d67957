//! What a Hello is answered with: the manifest once for each session and version, and no more Hellos than a session may say.

use super::common::GENEROUS_SHOW;
use super::house::House;
use shake_proto::code::Code;
use shake_proto::wire::v1;

#[test]
fn clients_with_an_old_manifest_are_told_the_new_one() {
    let sha256 = "ab".repeat(32);
    let show = format!(
        "{GENEROUS_SHOW}\n[resources]\nversion = 4\n[[resources.packages]]\nid = 7\naddress = \"http://cdn.example/7\"\n\
         size_bytes = 900\nsha256 = \"{sha256}\"\nfetch_after = \"2027-02-01T00:00:00Z\"\n\
         fetch_before = \"2027-02-02T00:00:00Z\"\n"
    );
    House::new(&show, "").play(|town| async move {
        for (resource_version, is_told) in [(0, true), (3, true), (4, false)] {
            let hello = v1::Hello {
                token: town.token(1),
                resource_version,
                ..Default::default()
            };
            let reply = town.phone().await.hello_with(hello).await;
            let manifest = reply.expect("a good Hello").manifest;
            assert_eq!(manifest.is_some(), is_told, "version {resource_version}");
            if let Some(manifest) = manifest {
                let resource = &manifest.resources[0];
                assert_eq!((manifest.version, resource.id, resource.size_bytes), (4, 7, 900));
                assert_eq!(&resource.sha256[..], &[0xab; 32]);
                assert_eq!(resource.fetch_before_ms - resource.fetch_after_ms, 86_400_000);
            }
        }
        // A shake then carries the id only.
        assert_eq!(town.user(1).await.shake(1).await.resource_id, 3);
        // On one session it is told once, whatever the client says that it has; and a Hello too many is no misdeed.
        let phone = town.phone().await;
        for is_told in [true, false, false, false] {
            let reply = phone.hello(town.token(1)).await.expect("a good Hello");
            assert_eq!(reply.manifest.is_some(), is_told);
        }
        for _ in 0..40 {
            assert_eq!(phone.hello(town.token(1)).await, Err(Code::TooMany));
        }
        assert_eq!(phone.shake(1).await.slow_down, None);
        assert_eq!(town.metric("gateway_streams_refused_total{code=\"too_many\"}"), 40);
    });
}
