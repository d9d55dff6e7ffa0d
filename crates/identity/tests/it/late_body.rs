//! A request whose body arrives long after its head.

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::Channel;
use serde_json::json;
use store::testing::TestStore;
use tower::ServiceExt as _;

use crate::app::TestApp;

#[tokio::test]
async fn rights_lost_while_the_body_was_awaited_are_lost() {
    for loss in [json!({"role": "user"}), json!({"disabled": true})] {
        let app = TestApp::start(TestStore::sqlite().await).await;
        let admin = app.set_up().await;
        let (ann, session) = app.person(&admin, "ann", "admin").await;
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = Request::post("/api/v1/keys")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {session}"))
            .body(Body::new(body))
            .unwrap();
        let router = app.router();
        let answer = tokio::spawn(router.oneshot(request));
        sender
            .send(Frame::data(Bytes::from_static(b"{\"name\":")))
            .await
            .unwrap();
        // The handler has taken the first part when there is room for another, and so has let the caller in.
        let second = Frame::data(Bytes::from_static(b"\"late\"}"));
        while sender.capacity() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            app.patch(&ann, Some(&admin), loss.clone()).await.status,
            200
        );
        sender.send(second).await.unwrap();
        drop(sender);
        let status = answer.await.unwrap().unwrap().status();
        assert!(status == 401 || status == 403, "{loss}: {status}");
        let keys = app.get("/api/v1/keys", Some(&admin)).await;
        assert_eq!(keys.body["items"], json!([]));
    }
}
