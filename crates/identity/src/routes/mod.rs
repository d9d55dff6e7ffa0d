//! HTTP of the domain: decode, call one operation, encode.

mod audit;
mod jwks;
mod keys;
mod me;
mod oidc;
mod organisations;
mod password;
mod password_reset;
mod privacy;
mod profile;
mod registration;
mod roles;
mod scoped_page;
mod sessions;
mod setup;
mod sign_in;
mod totp;
mod users;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::identity::Identity;

pub(crate) use audit::AuditQuery;

impl Identity {
    /// Returns the routes of set-up, sign-in, sessions, keys, organisations and people, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(setup::set_up))
            .routes(routes!(sign_in::log_in))
            .routes(routes!(sign_in::refresh))
            .routes(routes!(sign_in::log_out))
            .routes(routes!(jwks::show_keys))
            .routes(routes!(sessions::list_mine, sessions::end_all_mine))
            .routes(routes!(sessions::end_mine))
            .routes(routes!(sessions::list_of_user, sessions::end_of_user))
            .routes(routes!(me::show_me))
            .routes(routes!(privacy::export_me))
            .routes(routes!(privacy::export_user))
            .routes(routes!(privacy::erase_user))
            .routes(routes!(password::change_password))
            .routes(routes!(keys::list_keys, keys::create_key))
            .routes(routes!(keys::show_key, keys::edit_key, keys::revoke_key))
            .routes(routes!(
                organisations::list_organisations,
                organisations::create_organisation
            ))
            .routes(routes!(roles::list_roles, roles::create_role))
            .routes(routes!(
                roles::show_role,
                roles::edit_role,
                roles::delete_role
            ))
            .routes(routes!(users::list_users, users::create_user))
            .routes(routes!(users::show_user, users::edit_user))
            .routes(routes!(audit::list_audit))
            .routes(routes!(audit::verify_audit))
            .routes(routes!(totp::show, totp::begin))
            .routes(routes!(totp::confirm))
            .routes(routes!(totp::renew_codes))
            .routes(routes!(totp::disable))
            .routes(routes!(totp::remove_of_user))
            .routes(routes!(password_reset::start))
            .routes(routes!(password_reset::reset))
            .routes(routes!(oidc::list_providers))
            .routes(routes!(oidc::begin_sign_in))
            .routes(routes!(oidc::end_sign_in))
            .routes(routes!(oidc::sign_in_with_ticket))
            .routes(routes!(oidc::list_identities, oidc::link_identity))
            .routes(routes!(oidc::unlink_identity))
            .routes(routes!(profile::show_profile, profile::edit_profile))
            .routes(routes!(registration::register))
            .routes(routes!(
                registration::list_invitations,
                registration::create_invitation
            ))
            .routes(routes!(registration::withdraw_invitation))
            .with_state(self.clone())
    }
}
