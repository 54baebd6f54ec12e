-- The store's tables. Keys and indexes come after the data.
CREATE TABLE categories (
    category     smallint NOT NULL,
    categoryname varchar(50) NOT NULL
);
CREATE TABLE products (
    prod_id        serial NOT NULL,
    category       smallint NOT NULL,
    title          varchar(50) NOT NULL,
    actor          varchar(50) NOT NULL,
    price          numeric(12,2) NOT NULL,
    special        smallint NOT NULL,
    common_prod_id int NOT NULL
);
-- Rows are updated by every purchase: room for new versions on the same page.
CREATE TABLE inventory (
    prod_id       int NOT NULL,
    quan_in_stock int NOT NULL,
    sales         int NOT NULL
) WITH (fillfactor = 85);
CREATE TABLE reorder (
    prod_id        int NOT NULL,
    date_low       date NOT NULL,
    quan_low       int NOT NULL,
    date_reordered date,
    quan_reordered int,
    date_expected  date
);
CREATE TABLE customers (
    customerid           serial NOT NULL,
    firstname            varchar(50) NOT NULL,
    lastname             varchar(50) NOT NULL,
    address1             varchar(50) NOT NULL,
    address2             varchar(50),
    city                 varchar(50) NOT NULL,
    state                varchar(50),
    zip                  int,
    country              varchar(50) NOT NULL,
    region               smallint NOT NULL,
    email                varchar(50),
    phone                varchar(50),
    creditcardtype       int NOT NULL,
    creditcard           varchar(50) NOT NULL,
    creditcardexpiration varchar(50) NOT NULL,
    username             varchar(50) NOT NULL,
    password             varchar(50) NOT NULL,
    age                  int,
    income               int,
    gender               char(1)
);
-- `token` is the driver's name for the purchase, null in loaded orders: with it the audit asks what became of an order.
CREATE TABLE orders (
    orderid     serial NOT NULL,
    orderdate   date NOT NULL,
    customerid  int,
    netamount   numeric(12,2) NOT NULL,
    tax         numeric(12,2) NOT NULL,
    totalamount numeric(12,2) NOT NULL,
    token       uuid
);
CREATE TABLE orderlines (
    orderlineid smallint NOT NULL,
    orderid     int NOT NULL,
    prod_id     int NOT NULL,
    quantity    smallint NOT NULL,
    orderdate   date NOT NULL
);
CREATE TABLE cust_hist (
    customerid int NOT NULL,
    orderid    int NOT NULL,
    prod_id    int NOT NULL
);
-- What the store was loaded from: one row. The audit draws the same data again.
CREATE TABLE godwit_store (
    format    int NOT NULL,
    seed      text NOT NULL,
    megabytes int NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
