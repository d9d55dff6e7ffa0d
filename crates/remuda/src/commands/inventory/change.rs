//! Making, removing, joining and parting widgets.

use clap::Args;
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::failure::Failure;

/// Makes a widget.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its serial number, which no other widget has.
    serial: String,
    /// Its name.
    name: String,
    /// The ports of its slots: up to three of the letters P, Q and R, as PPR.
    #[arg(long, default_value = "", value_parser = ports)]
    ports: String,
}

fn ports(text: &str) -> Result<String, String> {
    inventory::Ports::parse(text)
        .map(|ports| ports.to_string())
        .map_err(|_| "write up to three of the letters P, Q and R, as PPR".to_owned())
}

/// Removes a widget.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Its serial number.
    serial: String,
}

/// Two widgets and a port.
#[derive(Debug, Args)]
pub(super) struct Pair {
    /// The serial number of one.
    first: String,
    /// The serial number of the other.
    second: String,
    /// The port: P, Q or R.
    port: String,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let slots: Vec<String> = self.ports.chars().map(String::from).collect();
        let body = json!({"widget_sn": self.serial, "widget_name": self.name, "slots": slots});
        call(
            context,
            "add_widget",
            &body,
            &format!("Made {}.", self.serial),
        )
        .await
    }
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = json!({"widget_sn": self.serial});
        let said = format!("There is no widget {} any more.", self.serial);
        call(context, "remove_widget", &body, &said).await
    }
}

impl Pair {
    fn body(&self) -> Value {
        json!({"widget1_sn": self.first, "widget2_sn": self.second, "port": self.port})
    }

    pub(super) async fn associate(self, context: &Context) -> Result<(), Failure> {
        let said = format!(
            "{} and {} are joined on port {}.",
            self.first, self.second, self.port
        );
        call(context, "associate_widgets", &self.body(), &said).await
    }

    pub(super) async fn disassociate(self, context: &Context) -> Result<(), Failure> {
        let said = format!(
            "{} and {} are not joined on port {} any more.",
            self.first, self.second, self.port
        );
        call(context, "remove_association", &self.body(), &said).await
    }
}

async fn call(context: &Context, function: &str, body: &Value, said: &str) -> Result<(), Failure> {
    let api = context.api()?;
    api.post(&format!("/rpc/{function}"), body).await?;
    if context.out.is_json() {
        return Ok(context
            .out
            .json(&json!({"done": function, "arguments": body}))?);
    }
    Ok(context.out.line(said)?)
}
