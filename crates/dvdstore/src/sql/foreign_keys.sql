-- Keys between the tables.
ALTER TABLE cust_hist ADD CONSTRAINT fk_cust_hist_customerid
    FOREIGN KEY (customerid) REFERENCES customers (customerid) ON DELETE CASCADE;
ALTER TABLE orders ADD CONSTRAINT fk_customerid
    FOREIGN KEY (customerid) REFERENCES customers (customerid) ON DELETE SET NULL;
ALTER TABLE orderlines ADD CONSTRAINT fk_orderid
    FOREIGN KEY (orderid) REFERENCES orders (orderid) ON DELETE CASCADE;
