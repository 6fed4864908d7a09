//! How Azurite is talked to: the variables that open it, the client of a container, the request that makes one.

use anyhow::Result;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::Method;

/// The account that every Azurite has, and its key; both are in Azurite's documentation.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The variables with which an `az://` URL is one of the server at `address`.
///
/// Not `AZURE_STORAGE_USE_EMULATOR`: the client would take the port from the environment of this process.
pub(super) fn variables(address: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
    ]
}

/// `object_store`'s own client of a container.
pub(super) fn client(address: &str, container: &str) -> Result<MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::new().with_container_name(container).with_allow_http(true);
    for (name, value) in variables(address) {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    Ok(builder.build()?)
}

/// The request that makes a container, signed. The client has none.
pub(super) fn make_container(address: &str, container: &str) -> Result<reqwest::Request> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = format!("http://{address}/{ACCOUNT}/{container}?restype=container").parse()?;
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY)?);
    AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request)?;
    Ok(request.map(|_| "").try_into()?)
}
