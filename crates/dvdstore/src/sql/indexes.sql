-- Primary keys, indexes and full text.
ALTER TABLE categories ADD PRIMARY KEY (category);
ALTER TABLE products ADD PRIMARY KEY (prod_id);
ALTER TABLE inventory ADD PRIMARY KEY (prod_id);
ALTER TABLE customers ADD PRIMARY KEY (customerid);
ALTER TABLE orders ADD PRIMARY KEY (orderid);
CREATE UNIQUE INDEX ix_cust_username ON customers (username);
CREATE INDEX ix_cust_hist_customerid ON cust_hist (customerid);
CREATE INDEX ix_order_custid ON orders (customerid);
CREATE UNIQUE INDEX ix_order_token ON orders (token) WHERE token IS NOT NULL;
CREATE UNIQUE INDEX ix_orderlines_orderid ON orderlines (orderid, orderlineid);
CREATE INDEX ix_prod_category ON products (category);
CREATE INDEX ix_prod_special ON products (special);
CREATE INDEX ix_prod_cat_special ON products (category, special);
-- The configuration is named here and in the queries: an index in one and a query in another never meet.
CREATE INDEX ix_prod_actor ON products USING gin (to_tsvector('simple', actor));
CREATE INDEX ix_prod_title ON products USING gin (to_tsvector('simple', title));
-- History grows at its end, so a block range index finds the new rows for the audit and costs purchases nothing.
CREATE INDEX ix_cust_hist_orderid ON cust_hist USING brin (orderid) WITH (pages_per_range = 16);
