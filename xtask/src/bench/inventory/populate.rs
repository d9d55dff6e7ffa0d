//! Databases with millions of widgets, as `remuda inventory load --prepare` would make them, but by the database itself.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::databases::Databases;
use crate::interrupt;

/// The indexes are made anew: for so many rows that is quicker.
const FILL: &str = "
    ALTER TABLE widgets DROP CONSTRAINT widgets_id;
    DROP INDEX widgets_serial_number;
    INSERT INTO widgets (id, serial_number, name, ports)
        SELECT n + 1, 'load-' || lpad(CAST(n AS TEXT), 8, '0'), 'part ' || n,
            (ARRAY['PQR', 'PQ', 'P', 'PPR', 'QR', '', 'RRQ', 'QQ', 'PR', 'QPR'])[1 + n % 10]
        FROM generate_series(0, WIDGETS - 1) AS n;
    ALTER TABLE widgets ADD CONSTRAINT widgets_id PRIMARY KEY (id);
    CREATE UNIQUE INDEX widgets_serial_number ON widgets (serial_number);
    UPDATE inventory_numbers SET next_number = WIDGETS + 1;
    VACUUM ANALYZE widgets;
    CHECKPOINT;";

/// Makes the widgets.
pub(super) fn fill(url: &str, widgets: u32) -> anyhow::Result<()> {
    // Each statement in a transaction of its own: some want that.
    for statement in FILL.split_inclusive(";\n") {
        sql(url, &statement.replace("WIDGETS", &widgets.to_string()))?;
    }
    Ok(())
}

/// Writes widgets into a file that can be imported.
pub(super) fn write_csv(file: &Path, widgets: u32) -> anyhow::Result<()> {
    const PORTS: [&str; 10] = ["PQR", "PQ", "P", "PPR", "QR", "", "RRQ", "QQ", "PR", "QPR"];
    let mut out = BufWriter::new(File::create(file)?);
    writeln!(out, "serial_number,name,ports")?;
    for (number, ports) in (0..widgets).zip(PORTS.into_iter().cycle()) {
        writeln!(out, "load-{number:08},part {number},{ports}")?;
    }
    out.flush()?;
    Ok(())
}

/// Has the database carry statements out.
pub(super) fn sql(url: &str, text: &str) -> anyhow::Result<()> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]);
    psql.args(["--command", text])
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = interrupt::wait(&mut psql).context("running psql")?;
    anyhow::ensure!(status.success(), "the database could not be filled");
    Ok(())
}

impl Databases {
    /// Makes a database, and returns its address.
    pub(in crate::bench) fn make(&self, name: &str) -> anyhow::Result<String> {
        sql(&self.postgres_url, &format!("CREATE DATABASE {name}"))?;
        Ok(address(&self.postgres_url, name))
    }

    /// Returns the address of a database through the pooler.
    pub(super) fn pooled(&self, name: &str) -> String {
        address(&self.pgbouncer_url, name)
    }
}

fn address(url: &str, name: &str) -> String {
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    format!("{server}/{name}")
}
