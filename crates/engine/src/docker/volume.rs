use bollard::{models, query_parameters::ListVolumesOptionsBuilder};
use ocicore::Cx;

use super::{
    Docker,
    container::{filters, sorted},
    fault::Deed,
    undo::or_undone,
};
use crate::{
    Label, Result, VolumeInfo,
    spec::{VolumeName, VolumeSpec},
};

impl Docker {
    pub(super) async fn make_volume(&self, cx: &Cx, spec: &VolumeSpec) -> Result<VolumeName> {
        let owner = &self.inner.owner;
        let mut labels = if spec.leased {
            owner.lease(cx.now())
        } else {
            owner.labels()
        };
        labels.extend(spec.labels.clone());
        let request = models::VolumeCreateRequest {
            name: spec.name.as_ref().map(ToString::to_string),
            labels: Some(labels.into_iter().collect()),
            ..Default::default()
        };
        let subject = spec.name.as_ref().map_or("a volume", VolumeName::as_str);
        let deed = Deed::new("create", "volume", subject);
        let this = self.clone();
        let make = async move {
            let made = this.api().create_volume(request).await;
            let made = made.map_err(|error| deed.bollard(error))?;
            made.name.parse().map_err(|error| deed.garbled(error))
        };
        let this = self.clone();
        // One with a name may have been there before.
        let ours = spec.leased;
        or_undone(cx, make, move |name| {
            Box::pin(async move {
                if ours {
                    this.remove_it(&name).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(super) async fn list_volumes(&self, labels: &[Label]) -> Result<Vec<VolumeInfo>> {
        let deed = Deed::new("list", "volume", "volumes");
        let options = ListVolumesOptionsBuilder::new()
            .filters(&filters(labels))
            .build();
        let found = self.api().list_volumes(Some(options)).await;
        let found = found.map_err(|error| deed.bollard(error))?;
        let mut all = found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| {
                Ok(VolumeInfo {
                    name: volume.name.parse().map_err(|error| deed.garbled(error))?,
                    labels: sorted(Some(volume.labels)),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        // Podman takes several conditions as alternatives.
        all.retain(|volume| labels.iter().all(|label| label.matches(&volume.labels)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(super) async fn remove_it(&self, name: &VolumeName) -> Result<()> {
        let options = None::<bollard::query_parameters::RemoveVolumeOptions>;
        let removed = self.api().remove_volume(name.as_str(), options).await;
        removed.map_err(|error| Deed::new("remove", "volume", name).bollard(error))
    }
}
