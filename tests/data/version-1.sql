-- What taghook 0.1.0 (database version 1) left behind: made by the real agent, then killed while web's redeploy ran.
PRAGMA application_id=1952540520;
PRAGMA user_version=1;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE watches (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    reference    TEXT NOT NULL,
    platform     TEXT NOT NULL,
    paused       INTEGER NOT NULL DEFAULT 0,
    digest       TEXT,
    index_digest TEXT,
    media_type   TEXT,
    since        INTEGER,
    absent_since INTEGER,
    last_checked INTEGER,
    last_ok      INTEGER,
    memory       TEXT NOT NULL DEFAULT '{}', -- JSON: candidate, recent, missing, trouble
    UNIQUE (name, reference, platform)
) STRICT;
INSERT INTO watches VALUES(1,'api','registry.example.com/acme/api:stable','',1,'sha256:490c8c6434f1f38f79303d6d1f8fcad919ffb453b0b0efa31ab9549b59849d2d',NULL,'application/vnd.oci.image.index.v1+json',1793628600562,NULL,1793628600562,1793628600562,'{"recent":[{"digest":"sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18","until":"2026-11-02T14:00:00.353Z"},{"digest":"sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c","until":"2026-11-02T14:10:00.562Z"}]}');
INSERT INTO watches VALUES(2,'arm','registry.example.com/acme/arm:stable','linux/arm64',0,'sha256:ee69a054fc222fca30a7ac9ca9ba744ccfdea62eb9d8ff9ca041e2bf3ea0e8bb','sha256:28eb09ea94e96daa1a95de9d6d665acc65dd87c65791f22f790aed43f0e162f6','application/vnd.oci.image.manifest.v1+json',1793617200308,NULL,1793631000988,1793631000988,'{"recent":[{"digest":"sha256:9fad91b4797b72139affa358e043db0190f4c297c03a84adfde36116fab146b2","until":"2026-11-02T11:00:00.308Z"}]}');
INSERT INTO watches VALUES(3,'back','registry.example.com/acme/back:stable','',0,'sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f',NULL,'application/vnd.oci.image.index.v1+json',1793620800788,NULL,1793620800788,1793620800788,'{"recent":[{"digest":"sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede","until":"2026-11-02T12:00:00.788Z"}]}');
INSERT INTO watches VALUES(4,'broken','registry.example.com/acme/broken:stable','',0,NULL,NULL,NULL,NULL,NULL,1793617200311,NULL,'{"trouble":{"failure":{"kind":"unauthorized","message":"registry.example.com refused: it answered 401 to an anonymous request: not found, or a login is needed (docker login, or username and password_file in [registry.\"registry.example.com\"])"},"failures":{"count":2,"since":"2026-11-02T10:00:01.04Z"},"counted":{"count":2,"since":"2026-11-02T10:00:01.04Z"},"announced":false}}');
INSERT INTO watches VALUES(5,'flaky','registry.example.com/acme/flaky:stable','',0,'sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL,'application/vnd.oci.image.index.v1+json',1793613601039,NULL,1793620800809,1793620800809,'{}');
INSERT INTO watches VALUES(6,'gone','registry.example.com/acme/gone:stable','',0,'sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336',NULL,'application/vnd.oci.image.index.v1+json',1793613601051,1793617920540,1793620800810,1793620800810,'{}');
INSERT INTO watches VALUES(7,'same','registry.example.com/acme/same:stable','',0,'sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL,'application/vnd.oci.image.index.v1+json',1793613601053,NULL,1793620800810,1793620800810,'{}');
INSERT INTO watches VALUES(8,'shop','registry.example.com/acme/shop:stable','',0,'sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b',NULL,'application/vnd.oci.image.index.v1+json',1793631300088,NULL,1793631300088,1793631300088,'{"recent":[{"digest":"sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804","until":"2026-11-02T14:55:00.088Z"}]}');
INSERT INTO watches VALUES(9,'slow','registry.example.com/acme/slow:stable','',0,'sha256:3f78604e82a9cb3e3505ecc603597c182ce47df3323c766dfa6ebfb9c28c6598',NULL,'application/vnd.oci.image.index.v1+json',1793613601060,NULL,1793630400799,1793629800655,'{"candidate":{"sighting":{"digest":"sha256:9d30ba3368b38efa072c75f10f8e6c5b4f965951dc9a5b14317562ce590544a7","index_digest":null,"media_type":"application/vnd.oci.image.index.v1+json"},"first_seen":"2026-11-02T14:30:00.655Z","sightings":1},"trouble":{"failure":{"kind":"server","message":"registry.example.com is in trouble: it answered 503"},"failures":{"count":1,"since":"2026-11-02T14:40:00.799Z"},"counted":{"count":1,"since":"2026-11-02T14:40:00.799Z"},"announced":false}}');
INSERT INTO watches VALUES(10,'web','registry.example.com/acme/web:stable','',0,'sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8',NULL,'application/vnd.oci.image.index.v1+json',1793635200392,NULL,1793635200392,1793635200392,'{"recent":[{"digest":"sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4","until":"2026-11-02T11:00:00.316Z"},{"digest":"sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1","until":"2026-11-02T13:00:00.173Z"},{"digest":"sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6","until":"2026-11-02T16:00:00.392Z"}]}');
CREATE TABLE changes (
    id           INTEGER PRIMARY KEY,
    watch        INTEGER NOT NULL REFERENCES watches,
    kind         TEXT NOT NULL,
    from_digest  TEXT,
    to_digest    TEXT,
    index_digest TEXT,
    media_type   TEXT,
    at           INTEGER NOT NULL
) STRICT;
INSERT INTO changes VALUES(1,1,'first',NULL,'sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18',NULL,'application/vnd.oci.image.index.v1+json',1793613601025);
INSERT INTO changes VALUES(2,3,'first',NULL,'sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede',NULL,'application/vnd.oci.image.index.v1+json',1793613601032);
INSERT INTO changes VALUES(3,5,'first',NULL,'sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL,'application/vnd.oci.image.index.v1+json',1793613601039);
INSERT INTO changes VALUES(4,2,'first',NULL,'sha256:9fad91b4797b72139affa358e043db0190f4c297c03a84adfde36116fab146b2','sha256:4221a2e634863d6a171c48875ff3c92794c54e80c85769ce6fa2c2b19cc10e2f','application/vnd.oci.image.manifest.v1+json',1793613601040);
INSERT INTO changes VALUES(5,6,'first',NULL,'sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336',NULL,'application/vnd.oci.image.index.v1+json',1793613601051);
INSERT INTO changes VALUES(6,7,'first',NULL,'sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL,'application/vnd.oci.image.index.v1+json',1793613601053);
INSERT INTO changes VALUES(7,8,'first',NULL,'sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804',NULL,'application/vnd.oci.image.index.v1+json',1793613601054);
INSERT INTO changes VALUES(8,9,'first',NULL,'sha256:3f78604e82a9cb3e3505ecc603597c182ce47df3323c766dfa6ebfb9c28c6598',NULL,'application/vnd.oci.image.index.v1+json',1793613601060);
INSERT INTO changes VALUES(9,10,'first',NULL,'sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4',NULL,'application/vnd.oci.image.index.v1+json',1793613601063);
INSERT INTO changes VALUES(10,2,'moved','sha256:9fad91b4797b72139affa358e043db0190f4c297c03a84adfde36116fab146b2','sha256:ee69a054fc222fca30a7ac9ca9ba744ccfdea62eb9d8ff9ca041e2bf3ea0e8bb','sha256:0adc91e77e6fb8518c4e3cb3ee58abd7a6d02e222341a418987314fcefc3f343','application/vnd.oci.image.manifest.v1+json',1793617200308);
INSERT INTO changes VALUES(11,10,'moved','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1',NULL,'application/vnd.oci.image.index.v1+json',1793617200316);
INSERT INTO changes VALUES(12,3,'removed','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede',NULL,NULL,NULL,1793617920536);
INSERT INTO changes VALUES(13,5,'failing','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL,'application/vnd.oci.image.index.v1+json',1793617920539);
INSERT INTO changes VALUES(14,6,'removed','sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336',NULL,NULL,NULL,1793617920540);
INSERT INTO changes VALUES(15,7,'removed','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL,NULL,NULL,1793617920540);
INSERT INTO changes VALUES(16,3,'restored','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f',NULL,'application/vnd.oci.image.index.v1+json',1793620800788);
INSERT INTO changes VALUES(17,3,'moved','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f',NULL,'application/vnd.oci.image.index.v1+json',1793620800788);
INSERT INTO changes VALUES(18,5,'recovered','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL,'application/vnd.oci.image.index.v1+json',1793620800809);
INSERT INTO changes VALUES(19,7,'restored','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL,'application/vnd.oci.image.index.v1+json',1793620800810);
INSERT INTO changes VALUES(20,10,'moved','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6',NULL,'application/vnd.oci.image.index.v1+json',1793624400173);
INSERT INTO changes VALUES(21,1,'moved','sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c',NULL,'application/vnd.oci.image.index.v1+json',1793628000353);
INSERT INTO changes VALUES(22,1,'moved','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c','sha256:490c8c6434f1f38f79303d6d1f8fcad919ffb453b0b0efa31ab9549b59849d2d',NULL,'application/vnd.oci.image.index.v1+json',1793628600562);
INSERT INTO changes VALUES(23,8,'moved','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b',NULL,'application/vnd.oci.image.index.v1+json',1793631300088);
INSERT INTO changes VALUES(24,10,'moved','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8',NULL,'application/vnd.oci.image.index.v1+json',1793635200392);
CREATE TABLE deliveries (
    number         INTEGER PRIMARY KEY, -- in the order in which they were owed
    id             TEXT NOT NULL UNIQUE,
    watch          INTEGER NOT NULL REFERENCES watches,
    hook           TEXT NOT NULL,
    change         INTEGER NOT NULL REFERENCES changes,
    lane           TEXT NOT NULL,
    target         TEXT NOT NULL, -- a digest, or absent, failing, well
    from_digest    TEXT,          -- of the latest attempt; before the first, the change's
    state          TEXT NOT NULL,
    held           INTEGER NOT NULL DEFAULT 0, -- its watch does not feed its hook at the moment
    due            INTEGER,       -- while pending
    attempts       INTEGER NOT NULL DEFAULT 0,
    deferrals      INTEGER NOT NULL DEFAULT 0,
    deferred_since INTEGER,
    exit_code      INTEGER,
    error          TEXT,
    ended          INTEGER
) STRICT;
INSERT INTO deliveries VALUES(1,'01a19bb3-9908-74fc-922c-a657a33893df',3,'announce',2,'content','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601092);
INSERT INTO deliveries VALUES(2,'01a19bb3-9913-71f9-9272-1877d892856d',5,'announce',3,'content','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601104);
INSERT INTO deliveries VALUES(3,'01a19bb3-991c-773f-8e05-7ec67ec114e9',6,'announce',5,'content','sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601109);
INSERT INTO deliveries VALUES(4,'01a19bb3-9923-70aa-b80f-77ea867e852f',7,'announce',6,'content','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601114);
INSERT INTO deliveries VALUES(5,'01a19bb3-9923-70aa-b80f-77ebe2a034c9',8,'announce',7,'content','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601146);
INSERT INTO deliveries VALUES(6,'01a19bb3-992b-710d-b69c-d5c4e985e90b',10,'announce',9,'content','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4',NULL,'succeeded',0,NULL,1,0,NULL,0,NULL,1793613601186);
INSERT INTO deliveries VALUES(7,'01a19bea-84ba-7078-a29d-cf7b393ced4e',2,'redeploy',10,'content','sha256:ee69a054fc222fca30a7ac9ca9ba744ccfdea62eb9d8ff9ca041e2bf3ea0e8bb','sha256:9fad91b4797b72139affa358e043db0190f4c297c03a84adfde36116fab146b2','succeeded',0,NULL,1,0,NULL,0,NULL,1793617200328);
INSERT INTO deliveries VALUES(8,'01a19bea-84bd-77ac-b9f4-b7986e01e221',10,'redeploy',11,'content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','succeeded',0,NULL,1,0,NULL,0,NULL,1793617200333);
INSERT INTO deliveries VALUES(9,'01a19bea-84bd-77ac-b9f4-b79951275710',10,'announce',11,'content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','succeeded',0,NULL,1,0,NULL,0,NULL,1793617200337);
INSERT INTO deliveries VALUES(10,'01a19bea-84bd-77ac-b9f4-b79ac4996162',10,'retired',11,'content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','superseded',1,NULL,1,0,NULL,1,'exit status 1',1793617200342);
INSERT INTO deliveries VALUES(11,'01a19bea-84bd-77ac-b9f4-b79b4ff720a7',10,'backup',11,'content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','succeeded',0,NULL,1,0,NULL,0,NULL,1793617200346);
INSERT INTO deliveries VALUES(12,'01a19bf5-8219-7361-ab03-0e857996a595',3,'announce',12,'content','absent','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede','succeeded',0,NULL,1,0,NULL,0,NULL,1793617920587);
INSERT INTO deliveries VALUES(13,'01a19bf5-8220-7033-8864-6db0fd5284f0',5,'announce',13,'health','failing','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df','succeeded',0,NULL,1,0,NULL,0,NULL,1793617920613);
INSERT INTO deliveries VALUES(14,'01a19bf5-8221-70d6-86a0-970732912689',6,'announce',14,'content','absent','sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336','succeeded',0,NULL,1,0,NULL,0,NULL,1793617920638);
INSERT INTO deliveries VALUES(15,'01a19bf5-8221-70d6-86a0-9708ddac6dff',7,'announce',15,'content','absent','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d','succeeded',0,NULL,1,0,NULL,0,NULL,1793617920649);
INSERT INTO deliveries VALUES(16,'01a19c21-7523-765f-bcda-e333ec90428f',3,'announce',17,'content','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede','succeeded',0,NULL,1,0,NULL,0,NULL,1793620800872);
INSERT INTO deliveries VALUES(17,'01a19c21-7523-765f-bcda-e33491bb83d8',3,'redeploy',17,'content','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f','sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede','succeeded',0,NULL,1,0,NULL,0,NULL,1793620800907);
INSERT INTO deliveries VALUES(18,'01a19c21-7537-7447-9e99-93300f79da50',5,'announce',18,'health','well','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df','succeeded',0,NULL,1,0,NULL,0,NULL,1793620800937);
INSERT INTO deliveries VALUES(19,'01a19c21-7538-7073-a718-39bb85b2698e',7,'announce',19,'content','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d','succeeded',0,NULL,1,0,NULL,0,NULL,1793620800981);
INSERT INTO deliveries VALUES(20,'01a19c58-6135-73e8-b5c8-f2c7895c99f8',10,'redeploy',20,'content','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','succeeded',0,NULL,1,0,NULL,0,NULL,1793624400215);
INSERT INTO deliveries VALUES(21,'01a19c58-6136-7746-94d0-c873e0d1ae29',10,'announce',20,'content','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','superseded',0,NULL,2,2,1793624400255,75,'exit status 75 (try later)',1793631600307);
INSERT INTO deliveries VALUES(22,'01a19c58-6136-7746-94d0-c8749df12250',10,'backup',20,'content','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','superseded',0,NULL,1,0,NULL,3,'exit status 3',1793624400263);
INSERT INTO deliveries VALUES(23,'01a19c58-6136-7746-94d0-c875f153d840',10,'retired',20,'content','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','superseded',1,NULL,0,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(24,'01a19c8f-5062-71bc-9c4e-c584570d0304',1,'redeploy',21,'content','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c','sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18','superseded',0,NULL,1,0,NULL,1,'exit status 1',1793628000381);
INSERT INTO deliveries VALUES(25,'01a19c8f-5063-7530-9c1a-1c37a1c30f7f',1,'backup',21,'content','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c','sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18','succeeded',0,NULL,1,0,NULL,0,NULL,1793628000402);
INSERT INTO deliveries VALUES(26,'01a19c98-78f4-72dd-85cc-871151897c07',1,'redeploy',22,'content','sha256:490c8c6434f1f38f79303d6d1f8fcad919ffb453b0b0efa31ab9549b59849d2d','sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18','pending',0,1793628600562,0,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(27,'01a19c98-78f4-72dd-85cc-87120d1c8381',1,'backup',22,'content','sha256:490c8c6434f1f38f79303d6d1f8fcad919ffb453b0b0efa31ab9549b59849d2d','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c','pending',0,1793628600562,0,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(28,'01a19cc1-a9fc-71ad-a5e7-da53e13c8943',8,'backup',23,'content','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','failed',0,NULL,1,0,NULL,3,'exit status 3',1793631300125);
INSERT INTO deliveries VALUES(29,'01a19cc1-a9fc-71ad-a5e7-da54946a2fd5',8,'announce',23,'content','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','pending',0,1793634569030,1,1,1793631300155,75,'exit status 75 (try later)',1793631300155);
INSERT INTO deliveries VALUES(30,'01a19cc1-a9fd-737b-a793-5e134e6ce097',8,'redeploy',23,'content','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','pending',0,1793634858750,1,0,NULL,1,'exit status 1',1793631300175);
INSERT INTO deliveries VALUES(31,'01a19cfd-2d8d-710d-9317-a8c9974cf656',10,'redeploy',24,'content','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','running',0,NULL,1,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(32,'01a19cfd-2d8d-710d-9317-a8cad22c4783',10,'announce',24,'content','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','pending',0,1793635200392,0,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(33,'01a19cfd-2d8d-710d-9317-a8cb4628e411',10,'backup',24,'content','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','pending',0,1793635200392,0,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(34,'01a19cfd-2d8d-710d-9317-a8cc2b31d63a',10,'retired',24,'content','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','pending',1,1793635200392,0,0,NULL,NULL,NULL,NULL);
CREATE TABLE cursors (
    watch     INTEGER NOT NULL REFERENCES watches,
    hook      TEXT NOT NULL,
    lane      TEXT NOT NULL,
    reached   TEXT,
    attempted TEXT,
    PRIMARY KEY (watch, hook, lane)
) STRICT, WITHOUT ROWID;
INSERT INTO cursors VALUES(1,'backup','content','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c',NULL);
INSERT INTO cursors VALUES(1,'redeploy','content','sha256:c85c7d4632c836b635c4e2d31b10e2b1859b02e70d33c518dd7870cb7187fb18','sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c');
INSERT INTO cursors VALUES(2,'redeploy','content','sha256:ee69a054fc222fca30a7ac9ca9ba744ccfdea62eb9d8ff9ca041e2bf3ea0e8bb',NULL);
INSERT INTO cursors VALUES(3,'announce','content','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f',NULL);
INSERT INTO cursors VALUES(3,'redeploy','content','sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f',NULL);
INSERT INTO cursors VALUES(5,'announce','content','sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df',NULL);
INSERT INTO cursors VALUES(5,'announce','health','well',NULL);
INSERT INTO cursors VALUES(6,'announce','content','absent',NULL);
INSERT INTO cursors VALUES(7,'announce','content','sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d',NULL);
INSERT INTO cursors VALUES(8,'announce','content','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b');
INSERT INTO cursors VALUES(8,'backup','content','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b');
INSERT INTO cursors VALUES(8,'redeploy','content','sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804','sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b');
INSERT INTO cursors VALUES(10,'announce','content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6');
INSERT INTO cursors VALUES(10,'backup','content','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6');
INSERT INTO cursors VALUES(10,'redeploy','content','sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6','sha256:93d8c01bad0370de9efd09bc1185b067a568ac4124260fe62a05d056449313d8');
INSERT INTO cursors VALUES(10,'retired','content','sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4','sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1');
CREATE TABLE attempts (
    delivery  INTEGER NOT NULL REFERENCES deliveries,
    attempt   INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    ended     INTEGER,
    exit_code INTEGER,
    error     TEXT,
    output    TEXT,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts VALUES(1,1,1793613601087,1793613601092,0,NULL,replace('announce: first of back to sha256:f1c1eaa3bdf08304683532050b574392556940bedd51b6530cd8ef8a59e6dede\n','\n',char(10)));
INSERT INTO attempts VALUES(2,1,1793613601099,1793613601104,0,NULL,replace('announce: first of flaky to sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df\n','\n',char(10)));
INSERT INTO attempts VALUES(3,1,1793613601105,1793613601109,0,NULL,replace('announce: first of gone to sha256:b78e1f78dab4acb91f0f3a03e429d9d2a82300f3320ba314dc10b03c29eeb336\n','\n',char(10)));
INSERT INTO attempts VALUES(4,1,1793613601110,1793613601114,0,NULL,replace('announce: first of same to sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d\n','\n',char(10)));
INSERT INTO attempts VALUES(5,1,1793613601130,1793613601146,0,NULL,replace('announce: first of shop to sha256:f4e8be7e01ded8a936213233ba3a67c778f64084a885e5fb9b7a7e8aef281804\n','\n',char(10)));
INSERT INTO attempts VALUES(6,1,1793613601181,1793613601186,0,NULL,replace('announce: first of web to sha256:5bcf3c836b179f63b0d300c8d24a65ea1c33be7a9d1dbb002d9046dcd42512d4\n','\n',char(10)));
INSERT INTO attempts VALUES(7,1,1793617200324,1793617200328,0,NULL,replace('redeploy: moved of arm to sha256:ee69a054fc222fca30a7ac9ca9ba744ccfdea62eb9d8ff9ca041e2bf3ea0e8bb\n','\n',char(10)));
INSERT INTO attempts VALUES(8,1,1793617200329,1793617200333,0,NULL,replace('redeploy: moved of web to sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1\n','\n',char(10)));
INSERT INTO attempts VALUES(9,1,1793617200334,1793617200337,0,NULL,replace('announce: moved of web to sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1\n','\n',char(10)));
INSERT INTO attempts VALUES(10,1,1793617200338,1793617200342,1,'exit status 1',replace('retired: moved of web to sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1\n','\n',char(10)));
INSERT INTO attempts VALUES(11,1,1793617200342,1793617200346,0,NULL,replace('backup: moved of web to sha256:88f3e977ffb6650f7d38ff4df9c84eb89b1831ceba538fa2528e70fdf1020aa1\n','\n',char(10)));
INSERT INTO attempts VALUES(12,1,1793617920553,1793617920587,0,NULL,replace('announce: removed of back to \n','\n',char(10)));
INSERT INTO attempts VALUES(13,1,1793617920600,1793617920613,0,NULL,replace('announce: failing of flaky to sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df\n','\n',char(10)));
INSERT INTO attempts VALUES(14,1,1793617920630,1793617920638,0,NULL,replace('announce: removed of gone to \n','\n',char(10)));
INSERT INTO attempts VALUES(15,1,1793617920640,1793617920649,0,NULL,replace('announce: removed of same to \n','\n',char(10)));
INSERT INTO attempts VALUES(16,1,1793620800837,1793620800872,0,NULL,replace('announce: moved of back to sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f\n','\n',char(10)));
INSERT INTO attempts VALUES(17,1,1793620800883,1793620800907,0,NULL,replace('redeploy: moved of back to sha256:0600156240d51c1f4feb04b0519a8e38bd55c9283ff48c588572d903146b137f\n','\n',char(10)));
INSERT INTO attempts VALUES(18,1,1793620800910,1793620800937,0,NULL,replace('announce: recovered of flaky to sha256:79e649d4228f718fd412da0bbaaa59005f5b42aea575ec2fc5e99d8c8c6280df\n','\n',char(10)));
INSERT INTO attempts VALUES(19,1,1793620800948,1793620800981,0,NULL,replace('announce: restored of same to sha256:38499ba9d12001c3e208f3cc624b5e732b030517a6d50dbe635c7aff10d7870d\n','\n',char(10)));
INSERT INTO attempts VALUES(20,1,1793624400192,1793624400215,0,NULL,replace('redeploy: moved of web to sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6\n','\n',char(10)));
INSERT INTO attempts VALUES(21,1,1793624400235,1793624400255,75,'exit status 75 (try later)',replace('announce: moved of web to sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6\n','\n',char(10)));
INSERT INTO attempts VALUES(21,2,1793631600261,1793631600307,75,'exit status 75 (try later)',replace('announce: moved of web to sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6\n','\n',char(10)));
INSERT INTO attempts VALUES(22,1,1793624400259,1793624400263,3,'exit status 3',replace('backup: moved of web to sha256:06c81c663198ac004f787f168a31b7ab095c13c29490711aad46e746ff096be6\n','\n',char(10)));
INSERT INTO attempts VALUES(24,1,1793628000367,1793628000381,1,'exit status 1',replace('redeploy: moved of api to sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c\n','\n',char(10)));
INSERT INTO attempts VALUES(25,1,1793628000391,1793628000402,0,NULL,replace('backup: moved of api to sha256:24ff77f6d3d75f423e1cfe0b1454ee33af9ba4da5fa70f36f91d84817f30c50c\n','\n',char(10)));
INSERT INTO attempts VALUES(28,1,1793631300111,1793631300125,3,'exit status 3',replace('backup: moved of shop to sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b\n','\n',char(10)));
INSERT INTO attempts VALUES(29,1,1793631300135,1793631300155,75,'exit status 75 (try later)',replace('announce: moved of shop to sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b\n','\n',char(10)));
INSERT INTO attempts VALUES(30,1,1793631300162,1793631300175,1,'exit status 1',replace('redeploy: moved of shop to sha256:34711179d65ab65a62e510154ba4e98d09850b363f5031cd9df386bdf2630d5b\n','\n',char(10)));
INSERT INTO attempts VALUES(31,1,1793635200424,NULL,NULL,NULL,NULL);
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat VALUES(1,1793631600296);
CREATE INDEX changes_of_watch ON changes (watch);
CREATE INDEX deliveries_due ON deliveries (hook, due) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (watch, lane, hook) WHERE state = 'pending';
CREATE INDEX deliveries_running ON deliveries (watch, hook) WHERE state = 'running';
CREATE INDEX deliveries_failed ON deliveries (watch, hook, lane) WHERE state = 'failed';
CREATE INDEX deliveries_of_watch ON deliveries (watch);
CREATE INDEX deliveries_of_change ON deliveries (change);
COMMIT;
