//! HTTP of the domain: decode, call one operation, encode.

mod caller;
mod hardware;
mod rpc;
mod rpc_arguments;
mod rpc_error;
mod rpc_value;
mod whole;
mod widgets;

use axum::extract::FromRef;
use axum::routing::{any, get};
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::model::OperationKind;
use crate::surface::Inventory;

pub(crate) use rpc::{call_of, refusal, respond};

impl FromRef<Inventory> for Identity {
    fn from_ref(inventory: &Inventory) -> Self {
        inventory.inner.identity.clone()
    }
}

impl Inventory {
    /// Returns the routes of the inventory, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        let mut router = OpenApiRouter::new()
            .routes(routes!(rpc::add_widget))
            .routes(routes!(rpc::remove_widget))
            .routes(routes!(rpc::associate_widgets))
            .routes(routes!(rpc::remove_association))
            .routes(routes!(widgets::list_widgets))
            .routes(routes!(widgets::show_widget))
            .routes(routes!(widgets::list_neighbours))
            .routes(routes!(widgets::show_component))
            .routes(routes!(widgets::find_path))
            .routes(routes!(whole::show_inventory_statistics))
            .routes(routes!(whole::check_inventory))
            .routes(routes!(whole::import_inventory))
            .routes(routes!(whole::export_inventory))
            .routes(routes!(hardware::show_hardware, hardware::set_hardware))
            .route("/rpc/{function}", any(rpc::unknown_function));
        for kind in OperationKind::ALL {
            let path = format!("/rpc/{}", kind.function());
            let wrong = get(rpc::other_method)
                .put(rpc::other_method)
                .patch(rpc::other_method)
                .delete(rpc::other_method)
                .options(rpc::other_method);
            router = router.route(&path, wrong);
        }
        router.with_state(self.clone())
    }
}
